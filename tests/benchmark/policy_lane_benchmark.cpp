// SPDX-License-Identifier: Apache-2.0
// What policy costs a lane, beside rules of nftables that say the same at the same place: frames of one
// established connection through the bridge to three workloads, one of each kind, and the time until a
// changed client is let in. nftables at a link's egress knows no connections, so its rules judge each frame.
// Run it by scripts/benchmark on an idle machine; it is no part of the tests.
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <map>

#include "core/names.h"
#include "ebpf/policy_tables.h"
#include "perf/statistics.h"
#include "policy/store.h"
#include "tests/support/guest.h"
#include "tests/support/long_run.h"
#include "tests/support/plugin.h"
#include "tests/support/policy_frames.h"
#include "tests/support/result.h"

namespace vmlane::test {
namespace {

constexpr int kLaneFrames = 20'000;  // of a round
constexpr int kLaneRules = 1'000;
constexpr std::array<const char*, 3> kLaneKinds = {"plain", "policy", "nftables"};

class PolicyLaneBenchmark : public PluginFixture, public ::testing::WithParamInterface<std::string> {
 protected:
  std::string plugin() const override { return GetParam(); }
  void SetUp() override {
    PluginFixture::SetUp();
    if (IsSkipped()) return;
    for (const char* kind : kLaneKinds) attach(kind);
    const Pod& far = make_pod("outside");
    must({"ip", "link", "add", "out1", "type", "veth", "peer", "name", "out0", "netns", far.name()});
    must({"ip", "link", "set", "out1", "master", "br1", "up"});
    ASSERT_TRUE(far.run({"ip", "link", "set", "out0", "up"}).ok());
    open_outside(far.path());
    put_rules();
    publish();
  }

  void attach(const std::string& kind) {
    const Json policy = {{"policyDefault", kind == "policy" ? "deny" : "allow"},
                         {"requirePolicy", kind == "policy"}};
    CniCall request = call("ADD", make_pod(kind).path(), config(policy), kind);
    request.args = "IgnoreUnknown=true;K8S_POD_NAMESPACE=blue;K8S_POD_NAME=" + kind;
    const CniOutcome outcome = run_call(request);
    ASSERT_CNI_OK(outcome);
    for (const Json& interface : (*outcome.document)["interfaces"]) {
      if (!interface.value("sandbox", "").empty())
        macs_[kind] = MacAddress::parse(interface["mac"].get<std::string>()).value();
    }
    const std::string text = (*outcome.document)["ips"][0]["address"];
    addresses_[kind] = IpAddress::parse(text.substr(0, text.find('/'))).value();
    if (plugin() == "vmlane-tap") guests_.emplace_back("/run/netns/" + kind, "tap0", macs_[kind]);
    must({"bridge", "fdb", "replace", macs_[kind].to_string(), "dev", host_link(kind), "master", "static"});
  }
  static std::string id_of(const std::string& kind) { return names::attachment_id("blue", kind, "eth0"); }
  static std::string host_link(const std::string& kind) {
    for (const Json& link : ip_json("", {"-d", "link"})) {
      if (link.value("ifalias", "").starts_with("vmlane:" + id_of(kind) + ":")) return link["ifname"];
    }
    return {};
  }
  void open_outside(const std::string& netns) {
    const NetnsScope scope(netns);
    outside_ = Fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
    sockaddr_ll to{};
    to.sll_family = AF_PACKET;
    to.sll_ifindex = static_cast<int>(::if_nametoindex("out0"));
    ASSERT_EQ(::bind(outside_.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
  }

  static std::string client(int number) {
    return "198.51." + std::to_string(100 + number / 250) + "." + std::to_string(number % 250 + 1);
  }
  // A thousand clients, each by its address and a port of its own.
  void put_rules() {
    std::string elements;
    for (int i = 0; i < kLaneRules; i++)
      elements += (i == 0 ? "" : ", ") + client(i) + " . " + std::to_string(1000 + i);
    const std::filesystem::path file = directory() / "rules.nft";
    spit(file, "table netdev bench {\n set allowed { type ipv4_addr . inet_service; elements = { " +
                   elements + " }; }\n chain out { type filter hook egress device \"" +
                   host_link("nftables") +
                   "\" priority 0; policy drop;\n ether type arp accept\n"
                   " ip saddr . tcp dport @allowed accept\n }\n}\n");
    must({"nft", "-f", file.string()});
  }
  void publish() {
    for (const char* kind : kLaneKinds) give_pod(kind, addresses_[kind].to_string(), kind);
    give_pod("moving", "203.0.113.9", "nobody");
    Json rules = Json::array({{{"from", {{{"podSelector", {{"matchLabels", {{"app", "friend"}}}}}}}}}});
    for (int i = 0; i < kLaneRules; i++) {
      rules.push_back(
          {{"from", {{{"ipBlock", {{"cidr", client(i) + "/32"}}}}}}, {"ports", {{{"port", 1000 + i}}}}});
    }
    store_.apply(policy::Change::of(
        {{"apiVersion", "networking.k8s.io/v1"},
         {"kind", "NetworkPolicy"},
         {"metadata", {{"namespace", "blue"}, {"name", "guard"}}},
         {"spec", {{"podSelector", {{"matchLabels", {{"app", "policy"}}}}}, {"ingress", rules}}}},
        "benchmark"));
    tables_.emplace(value_of(ebpf::PolicyTables::open(node())));
    ASSERT_TRUE(
        succeeded(tables_->publish(tables_->generation() + 1, store_.publish().block,
                                   {{id_of("policy"), store_.endpoint("blue/policy", "default").value()}})));
  }
  void give_pod(const std::string& name, const std::string& address, const std::string& app) {
    store_.apply(
        policy::Change::of({{"apiVersion", "v1"},
                            {"kind", "Pod"},
                            {"metadata", {{"namespace", "blue"}, {"name", name}, {"labels", {{"app", app}}}}},
                            {"status", {{"phase", "Running"}, {"podIP", address}}}},
                           "benchmark"));
  }

  Frame frame_to(const std::string& kind, std::uint8_t flags) const {
    const int last = kLaneRules - 1;
    Frame frame = make_packet({.source = *IpAddress::parse(client(last)),
                               .destination = addresses_.at(kind),
                               .destination_port = static_cast<std::uint16_t>(1000 + last),
                               .tcp_flags = flags,
                               .payload = 6});
    std::ranges::copy(macs_.at(kind).bytes, frame.begin());
    return frame;
  }
  // ns a frame, each of which goes all the way before the next one.
  double send(const Frame& frame, int count) const {
    std::vector<iovec> parts(64, {const_cast<std::uint8_t*>(frame.data()), frame.size()});
    std::vector<mmsghdr> messages(parts.size());
    for (std::size_t i = 0; i < parts.size(); i++)
      messages[i].msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1};
    const auto start = std::chrono::steady_clock::now();
    int sent = 0;
    while (sent < count) {
      const int more = ::sendmmsg(outside_.get(), messages.data(), static_cast<unsigned>(messages.size()), 0);
      if (more <= 0) continue;
      sent += more;
    }
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() / sent;
  }
  template <class Call>
  static double milliseconds(const Call& call) {
    const auto start = std::chrono::steady_clock::now();
    call();
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  }

  std::map<std::string, MacAddress> macs_;
  std::map<std::string, IpAddress> addresses_;
  std::vector<FakeGuest> guests_;
  Fd outside_;
  policy::Store store_;
  std::optional<ebpf::PolicyTables> tables_;
};

TEST_P(PolicyLaneBenchmark, BesideNothingAndBesideNftables) {
  for (const char* kind : kLaneKinds) send(frame_to(kind, 0x02), 64);
  ASSERT_FALSE(tables_->connections(id_of("policy")).empty()) << "the connection is not known";
  std::map<std::string, std::vector<double>> took;
  for (int round = 0; round < rounds(31, 101); round++) {
    for (const char* kind : kLaneKinds) took[kind].push_back(send(frame_to(kind, 0x10), kLaneFrames));
  }
  const double plain = perf::median(took["plain"]);
  const double policy = perf::median(took["policy"]);
  const double nftables = perf::median(took["nftables"]);
  std::printf(
      "%s, frames of 66 bytes: without policy %.0f ns, throughput with policy %.3f of it   limit 0.97\n",
      plugin().c_str(), plain, plain / policy);
  std::printf("%s, a frame, over one without policy: %+.0f ns; by nftables %+.0f ns; ratio %.2f of it\n",
              plugin().c_str(), policy - plain, nftables - plain, (policy - plain) / (nftables - plain));

  std::vector<double> ours;
  std::vector<double> theirs;
  for (int round = 0; round < rounds(31, 101); round++) {
    ours.push_back(milliseconds([&] {
      give_pod("moving", "203.0.113.9", round % 2 == 0 ? "friend" : "nobody");
      const policy::Publication publication = store_.publish();
      ASSERT_FALSE(publication.whole);
      ASSERT_TRUE(succeeded(tables_->change(tables_->generation() + 1, publication.phases.size(),
                                            [&](std::size_t phase, std::span<std::uint64_t> block) {
                                              policy::write_phase(block, publication.phases[phase]);
                                            })));
    }));
    theirs.push_back(milliseconds([&] {
      must({"nft", round % 2 == 0 ? "add" : "delete", "element", "netdev", "bench", "allowed",
            "{ 203.0.113.9 . 80 }"});
    }));
  }
  std::printf(
      "%s, a client that is let in, until it is: %.2f ms; by the nft program %.2f ms; ratio %.2f of it\n",
      plugin().c_str(), perf::median(ours), perf::median(theirs), perf::median(ours) / perf::median(theirs));
}

INSTANTIATE_TEST_SUITE_P(Lane, PolicyLaneBenchmark, ::testing::Values("vmlane-veth", "vmlane-tap"),
                         [](const ::testing::TestParamInfo<std::string>& lane) {
                           return lane.param.substr(7);
                         });

}  // namespace
}  // namespace vmlane::test
