// SPDX-License-Identifier: Apache-2.0
// Policy on the link of a workload, on each lane: what gets to it and what leaves it, before there are
// tables, under them, and while they change.
#include "tests/conformance/policy_lane.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "policy/reader.h"
#include "tests/support/guest_messages.h"
#include "tests/support/long_run.h"

namespace vmlane::test {
namespace {

Json pod_object(const std::string& name, const std::string& v4, const std::string& v6) {
  return {
      {"apiVersion", "v1"},
      {"kind", "Pod"},
      {"metadata", {{"namespace", "blue"}, {"name", name}, {"labels", {{"app", name}}}}},
      {"spec",
       {{"containers",
         {{{"name", "main"}, {"ports", {{{"name", "web"}, {"containerPort", 80}, {"protocol", "TCP"}}}}}}}}},
      {"status", {{"phase", "Running"}, {"podIPs", {{{"ip", v4}}, {{"ip", v6}}}}}}};
}

Json policy_object(const Json& spec, const std::string& name = "guard") {
  Json all = {{"podSelector", {{"matchLabels", {{"app", "c1"}}}}}};
  all.update(spec);
  return {{"apiVersion", "networking.k8s.io/v1"},
          {"kind", "NetworkPolicy"},
          {"metadata", {{"namespace", "blue"}, {"name", name}}},
          {"spec", all}};
}

Json from_client(const Json& ports) {
  return {{{"from", {{{"podSelector", {{"matchLabels", {{"app", "client"}}}}}}}}, {"ports", ports}}};
}

const Json kPort80 = Json::array({{{"port", 80}, {"protocol", "TCP"}}});
const Json kNamedPort = Json::array({{{"port", "web"}, {"protocol", "TCP"}}});
const Json kDenyAll = {{"policyTypes", {"Ingress", "Egress"}}};

class PolicyLane : public PolicyOnALane {
 protected:
  void publish(const std::vector<Json>& policies) {
    policy::Objects objects;
    policy::add_object(objects, pod_object("c1", "192.0.2.2", "2001:db8:1::2"), "test");
    policy::add_object(objects, pod_object("client", "192.0.2.77", "2001:db8:1::77"), "test");
    for (const Json& object : policies) policy::add_object(objects, object, "test");
    publish_objects(objects, "blue/c1");
  }
};

TEST_P(PolicyLane, WithoutTablesTheDefaultVerdictHolds) {
  attach({{"policyDefault", "deny"}, {"guestAnswers", false}, {"spoofCheck", false}});
  for (const bool v6 : {false, true}) {
    EXPECT_FALSE(enters(to_workload(v6, 80))) << v6;
    EXPECT_FALSE(leaves(answer_to(to_workload(v6, 80), kSyn))) << v6;
    PacketSpec neighbour = to_workload(v6, 0);
    neighbour.protocol = 58;
    neighbour.icmp_type = 135;
    if (v6) {
      EXPECT_TRUE(enters(neighbour));
    }
    PacketSpec request = answer_to(to_workload(v6, v6 ? 546 : 68), 0);
    request.protocol = kUdp;
    request.destination_port = v6 ? 547 : 67;
    if (!v6) {
      EXPECT_FALSE(enters(answer_to(request, 0))) << "nobody asked for that lease";
    }
    EXPECT_TRUE(leaves(request)) << v6;
    EXPECT_TRUE(enters(answer_to(request, 0))) << v6;
  }
}

TEST_P(PolicyLane, AllowIsADefaultToo) {
  attach({{"policyDefault", "allow"}});
  EXPECT_TRUE(enters(to_workload(false, 80)));
  EXPECT_TRUE(leaves(answer_to(to_workload(false, 80), kSynAck)));
}

TEST_P(PolicyLane, ConnectionIsJudgedOnceAndItsRepliesPass) {
  attach({{"policyDefault", "deny"}, {"spoofCheck", false}});
  publish({policy_object({{"policyTypes", {"Ingress", "Egress"}}, {"ingress", from_client(kNamedPort)}})});
  for (const bool v6 : {false, true}) {
    const PacketSpec opened = to_workload(v6, 80);
    EXPECT_FALSE(leaves(answer_to(opened, kSynAck))) << "there is nothing to reply to, v6 " << v6;
    EXPECT_TRUE(enters(opened)) << v6;
    EXPECT_TRUE(leaves(answer_to(opened, kSynAck))) << v6;
    PacketSpec data = opened;
    data.tcp_flags = kAck;
    EXPECT_TRUE(enters(data)) << v6;
    EXPECT_FALSE(enters(to_workload(v6, 81))) << v6;
    EXPECT_FALSE(enters(to_workload(v6, 80, "88"))) << v6;
    EXPECT_FALSE(leaves(answer_to(to_workload(v6, 8080), kSyn))) << v6;
    PacketSpec datagram = opened;
    datagram.protocol = kUdp;
    EXPECT_FALSE(enters(datagram)) << v6;
  }
}

TEST_P(PolicyLane, F078_ErrorsAboutConnectionsPassAndOthersDoNot) {
  attach({{"policyDefault", "deny"}, {"spoofCheck", false}});
  publish({policy_object({{"policyTypes", {"Ingress", "Egress"}}, {"ingress", from_client(kNamedPort)}})});
  for (const bool v6 : {false, true}) {
    const PacketSpec opened = to_workload(v6, 80);
    EXPECT_TRUE(enters(opened)) << v6;
    PacketSpec error = opened;  // fragmentation needed, packet too big
    error.source = ip(v6 ? "2001:db8:1::99" : "192.0.2.99");
    error.protocol = v6 ? 58 : 1;
    error.icmp_type = v6 ? 2 : 3;
    error.quoted = quote_of(answer_to(opened, kAck));
    EXPECT_TRUE(enters(error)) << v6;
    error.quoted = quote_of(answer_to(to_workload(v6, 443), kAck));
    EXPECT_FALSE(enters(error)) << v6;
    PacketSpec ping = to_workload(v6, 0);
    ping.protocol = v6 ? 58 : 1;
    EXPECT_FALSE(enters(ping)) << v6;
  }
}

TEST_P(PolicyLane, ShapesOfPacketsMakeNoDifference) {
  attach({{"policyDefault", "deny"}, {"spoofCheck", false}});
  publish({policy_object({{"ingress", from_client(kPort80)}})});
  PacketSpec with_options = to_workload(false, 80);
  with_options.ip_options = 3;
  EXPECT_TRUE(enters(with_options));
  with_options.destination_port = 81;
  EXPECT_FALSE(enters(with_options));
  PacketSpec extended = to_workload(true, 80);
  extended.extensions = {0, 60, 43};
  EXPECT_TRUE(enters(extended));
  extended.destination_port = 81;
  EXPECT_FALSE(enters(extended));
  for (const bool v6 : {false, true}) {
    PacketSpec first = to_workload(v6, 80);
    first.fragmented = true;
    first.more_fragments = true;
    first.fragment_id = 5;
    first.payload = 12;
    PacketSpec last = first;
    last.fragment_place = 4;
    last.more_fragments = false;
    EXPECT_FALSE(enters(last)) << "of a packet that nobody has seen the beginning of";
    EXPECT_TRUE(enters(first));
    EXPECT_TRUE(enters(last));
    first.destination_port = 81;
    first.fragment_id = 6;
    last.fragment_id = 6;
    EXPECT_FALSE(enters(first));
    EXPECT_FALSE(enters(last));
  }
}

TEST_P(PolicyLane, F031_ChangeOfPolicyCutsWhatItDeniesAndNothingElse) {
  attach({{"policyDefault", "deny"}, {"spoofCheck", false}});
  const Json client_only = policy_object({{"ingress", from_client(kPort80)}});
  Json wide = policy_object({{"ingress", {Json::object()}}}, "wide");
  publish({client_only, wide});
  PacketSpec kept = to_workload(false, 80);
  PacketSpec cut = to_workload(false, 80, "88");
  PacketSpec datagram = to_workload(true, 53, "88");
  datagram.protocol = kUdp;
  for (const PacketSpec& opened : {kept, cut, datagram}) {
    EXPECT_TRUE(enters(opened));
    EXPECT_TRUE(leaves(answer_to(opened, kSynAck)));
  }
  kept.tcp_flags = kAck;
  cut.tcp_flags = kAck;
  publish({client_only});
  EXPECT_TRUE(enters(kept));
  EXPECT_TRUE(leaves(answer_to(kept, kAck)));
  EXPECT_FALSE(enters(cut));
  EXPECT_FALSE(enters(datagram));
  EXPECT_FALSE(leaves(answer_to(cut, kAck))) << "its other end goes on as if nothing were";
  EXPECT_FALSE(leaves(answer_to(datagram, 0)));
  EXPECT_FALSE(enters(datagram)) << "what the workload sent is no connection of its own";
  publish({client_only, wide});
  EXPECT_TRUE(enters(cut));
  EXPECT_TRUE(enters(datagram));
}

TEST_P(PolicyLane, NothingThatIsDeniedPassesAndNothingThatIsAllowedIsLostWhilePoliciesFlip) {
  attach({{"policyDefault", "deny"}, {"spoofCheck", false}});
  const Json open = policy_object({{"ingress", from_client(kPort80)}});
  const Json closed = policy_object({{"policyTypes", {"Ingress"}}});
  PacketSpec flow = to_workload(false, 80);
  publish({open});
  ASSERT_TRUE(enters(flow));
  flow.tcp_flags = kAck;
  const int flips = rounds(40, 1000);
  for (int flip = 0; flip < flips; flip++) {
    const bool is_open = flip % 2 == 1;
    publish({is_open ? open : closed});
    for (int i = 0; i < 4; i++) {
      // The stamp stands where the payload is.
      Frame frame = frame_of(flow, true);
      frame[frame.size() - 1] = static_cast<std::uint8_t>(flip);
      frame[frame.size() - 2] = static_cast<std::uint8_t>(flip >> 8);
      EXPECT_EQ(comes(frame, true), is_open) << "flip " << flip;
    }
  }
}

TEST_P(PolicyLane, DropsCountersAndConnectionsCanBeRead) {
  attach({{"policyDefault", "deny"}, {"spoofCheck", false}});
  publish({policy_object({{"ingress", from_client(kPort80)}})});
  EXPECT_TRUE(enters(to_workload(false, 80)));
  EXPECT_FALSE(enters(to_workload(false, 81)));
  std::vector<ebpf::PolicyDrop> drops;
  ASSERT_TRUE(
      succeeded(tables_->drops(std::chrono::seconds(2), [&](const auto& drop) { drops.push_back(drop); })));
  const auto found =
      std::ranges::find_if(drops, [](const auto& drop) { return drop.packet.destination_port == 81; });
  ASSERT_NE(found, drops.end());
  EXPECT_EQ(found->attachment_id, id_of());
  EXPECT_EQ(found->reason, "isolated");
  EXPECT_EQ(found->packet.source, ip("192.0.2.77"));
  EXPECT_TRUE(found->ingress);
  const auto connections = tables_->connections(id_of());
  ASSERT_EQ(connections.size(), 1U);
  EXPECT_EQ(connections[0].opened.destination_port, 80);
  EXPECT_EQ(connections[0].state, "new");
  std::map<bool, std::uint64_t> hits;  // by whether a rule did it
  for (const auto& count : tables_->counters()) hits[count.rule.has_value()] += count.hits;
  EXPECT_EQ(hits[true], 1U);
  EXPECT_GE(hits[false], 1U);
  EXPECT_EQ(tables_->flush(id_of()), 1U);
  EXPECT_TRUE(tables_->connections(id_of()).empty());
}

TEST_P(PolicyLane, WhatOnlyPoliciesInAuditDenyPassesAndIsTold) {
  attach({{"policyDefault", "deny"}, {"spoofCheck", false}});
  Json audited = policy_object({{"ingress", from_client(kPort80)}}, "audited");
  audited["metadata"]["annotations"]["vmlane.io/policy-mode"] = "audit";
  publish({audited});
  EXPECT_TRUE(enters(to_workload(false, 80)));
  EXPECT_TRUE(enters(to_workload(false, 81)));
  EXPECT_TRUE(enters(to_workload(true, 81)));
  PacketSpec data = to_workload(false, 81);
  data.tcp_flags = kAck;
  EXPECT_TRUE(enters(data)) << "of the connection that audit let pass";
  PacketSpec fragment = to_workload(false, 82);
  fragment.fragmented = true;
  fragment.fragment_place = 2;
  EXPECT_TRUE(enters(fragment)) << "nobody knows its first one, but nothing is enforced";
  std::vector<ebpf::PolicyDrop> told;
  ASSERT_TRUE(
      succeeded(tables_->drops(std::chrono::seconds(2), [&](const auto& one) { told.push_back(one); })));
  std::map<std::string, int> reasons;
  for (const auto& one : told) {
    EXPECT_TRUE(one.audit) << one.reason;
    EXPECT_TRUE(one.ingress);
    EXPECT_EQ(one.attachment_id, id_of());
    EXPECT_EQ(one.policy.has_value(), one.reason == "isolated");
    reasons[one.reason]++;
  }
  EXPECT_EQ(reasons, (std::map<std::string, int>{{"isolated", 2}, {"fragment", 1}}));
  std::map<std::pair<bool, bool>, std::uint64_t> hits;  // by whether in audit, and whether a rule did it
  for (const auto& count : tables_->counters()) hits[{count.audit, count.rule.has_value()}] += count.hits;
  EXPECT_EQ((hits[{false, true}]), 1U) << "what it allows counts as ever";
  EXPECT_EQ((hits[{true, false}]), 3U) << "two connections and the fragment";
  EXPECT_EQ((hits[{false, false}]), 0U);
  for (const auto& [reason, count] : tables_->status(id_of())->dropped) EXPECT_EQ(count, 0U) << reason;

  publish({audited, policy_object({{"ingress", from_client({{{"port", 81}}})}}, "enforced")});
  EXPECT_TRUE(enters(to_workload(false, 80))) << "the policy in audit allows it still";
  EXPECT_TRUE(enters(to_workload(false, 81)));
  EXPECT_FALSE(enters(to_workload(false, 82)));
  EXPECT_FALSE(enters(fragment));
}

TEST_P(PolicyLane, LastStateGoesOnWithoutAPublisherAndTheNextOneTakesItOver) {
  attach({{"policyDefault", "allow"}, {"spoofCheck", false}});
  publish({policy_object({{"ingress", from_client(kPort80)}})});
  const PacketSpec flow = to_workload(false, 80);
  EXPECT_TRUE(enters(flow));
  tables_.reset();
  EXPECT_TRUE(enters(to_workload(true, 80)));
  EXPECT_FALSE(enters(to_workload(false, 81)));
  publish({policy_object({{"ingress", from_client(kPort80)}})});
  EXPECT_EQ(tables_->generation(), 2U);
  PacketSpec data = flow;
  data.tcp_flags = kAck;
  EXPECT_TRUE(enters(data)) << "connections outlive who publishes";
}

TEST_P(PolicyLane, F035_GuestIsAnsweredUnderDeny) {
  if (!is_guest_lane()) GTEST_SKIP() << "a container is not answered";
  attach({{"policyDefault", "deny"}});
  publish({policy_object(kDenyAll)});
  EXPECT_FALSE(enters(to_workload(false, 80)));
  const Frame discover = make_dhcp(mac_, {.type = 1, .xid = 0x0badcafe});
  send(discover, false);
  EXPECT_TRUE(receive(true, [&](const Frame& got) {
    return destination_of(got) == mac_ && ether_type_of(got) == kEtherTypeIpv4 &&
           read_dhcp(read_reply(got).payload).xid == 0x0badcafe;
  }));
}

TEST_P(PolicyLane, CheckNoticesAStageThatIsGoneAndDelLeavesNothing) {
  const Snapshot before = snapshot();
  {
    attach({{"policyDefault", "deny"}});
    EXPECT_EQ(record()["handles"]["policy"]["mode"], "enforced");
    EXPECT_CNI_OK(check(*pods().at("a"), conf_, result_));
    const std::string where = is_macvtap() ? "a" : "";
    const std::string link = is_macvtap() ? "eth0" : host_link_of(id_of())["ifname"].get<std::string>();
    const std::vector<std::string> remove = {"tc", "filter", "del", "dev", link, "ingress", "prio", "2"};
    ASSERT_TRUE(where.empty() ? run(remove).ok() : pods().at("a")->run(remove).ok());
    EXPECT_CNI_ERROR(check(*pods().at("a"), conf_, result_), Code::kChanged);
  }
  guest_.reset();
  wire_.reset();
  macvtap_.reset();
  EXPECT_CNI_OK(del(pods().at("a")->path(), conf_));
  const Snapshot after = snapshot();
  EXPECT_EQ(after.at("workloads"), before.at("workloads"));
  EXPECT_EQ(after.at("ipam"), before.at("ipam"));
}

TEST_P(PolicyLane, F016_StageIsThereOnceAnAgentHasRun) {
  std::filesystem::create_directories(node().state_dir);
  spit(node().agent_marker(), "");
  attach(Json::object());
  EXPECT_FALSE(enters(to_workload(false, 80)));
  EXPECT_EQ(record()["handles"]["policy"]["default"], "deny");
}

TEST_P(PolicyLane, ContainerOnAMacvtapIsCooperative) {
  if (!is_macvtap()) GTEST_SKIP() << "only there the link is the pod's";
  make_pod("a");
  expect_refused(call("ADD", pods().at("a")->path(), config({{"requirePolicy", true}})),
                 Code::kUnsupportedField, {"requirePolicy"});
  ASSERT_CNI_OK(add(*pods().at("a"), config({{"policyDefault", "allow"}})));
  EXPECT_EQ(record()["handles"]["policy"]["mode"], "cooperative");
}

TEST_P(PolicyLane, WrongWordIsRefusedByName) {
  make_pod("a");
  expect_refused(call("ADD", pods().at("a")->path(), config({{"policyDefault", "maybe"}})),
                 Code::kInvalidConfig, {"policyDefault", "maybe"});
}

VMLANE_FOR_EACH_LANE(PolicyLane);

// What real hosts send: segments larger than the MTU, offloaded checksums.
class PolicyPods : public LaneTest {};

TEST_P(PolicyPods, BulkTransferGoesThroughBothEndsPolicies) {
  const Json conf = config({{"isGateway", true}, {"policyDefault", "deny"}});
  ASSERT_CNI_OK(add(make_pod("a"), conf, "c1"));
  ASSERT_CNI_OK(add(make_pod("b"), conf, "c2"));
  EXPECT_TRUE(reach("", "192.0.2.2").all()) << "the node itself gets through";
  policy::Objects objects;
  policy::add_object(objects, pod_object("c1", "192.0.2.2", "2001:db8:1::2"), "test");
  policy::add_object(objects, pod_object("client", "192.0.2.3", "2001:db8:1::3"), "test");
  policy::add_object(objects, policy_object({{"ingress", from_client(Json::array({{{"protocol", "TCP"}}}))}}),
                     "test");
  policy::Store store;
  store.put(objects);
  auto tables = value_of(ebpf::PolicyTables::open(node()));
  ASSERT_TRUE(succeeded(tables.publish(1, store.publish().block,
                                       {{id_of("c1"), store.endpoint("blue/c1", "default").value()},
                                        {id_of("c2"), store.endpoint("blue/client", "default").value()}})));
  EXPECT_EQ(tcp_transfer("/run/netns/b", "/run/netns/a", "192.0.2.2", std::uint64_t{64} << 20), "");
  EXPECT_EQ(ping("/run/netns/b", "192.0.2.2").received, 0) << "no rule without ports";
}

VMLANE_INSTANTIATE_FOR(PolicyPods, "vmlane-veth");

}  // namespace
}  // namespace vmlane::test
