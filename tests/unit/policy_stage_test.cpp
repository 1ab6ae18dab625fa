// SPDX-License-Identifier: Apache-2.0
// The policy stage natively: how connections begin, go on, end, run out and crowd each other.
#include <gtest/gtest.h>

#include <map>

#include "policy/native_stage.h"
#include "policy/reader.h"
#include "policy/store.h"
#include "tests/support/policy_frames.h"

namespace vmlane::policy {
namespace {

using test::answer_to;
using test::PacketSpec;

constexpr std::uint8_t kSyn = 0x02;
constexpr std::uint8_t kSynAck = 0x12;
constexpr std::uint8_t kAck = 0x10;
constexpr std::uint8_t kFin = 0x11;
constexpr std::uint8_t kRst = 0x04;
constexpr std::uint8_t kUdp = 17;

std::uint32_t seconds(std::uint64_t count) {
  return VMLANE_CONNECTION_SECONDS(count) + 1;
}

IpAddress ip(const std::string& text) {
  return IpAddress::parse(text).value();
}

Json pod(const std::string& name, const std::string& address) {
  return {{"apiVersion", "v1"},
          {"kind", "Pod"},
          {"metadata", {{"namespace", "blue"}, {"name", name}, {"labels", {{"app", name}}}}},
          {"spec", {{"containers", Json::array()}}},
          {"status", {{"phase", "Running"}, {"podIPs", {{{"ip", address}}}}}}};
}

// The server lets the client in at TCP and UDP 80, and opens nothing itself but where a test says so.
class PolicyStage : public ::testing::Test {
 protected:
  PolicyStage() {
    Objects objects;
    add_object(objects, pod("server", "192.0.2.2"), "test");
    add_object(objects, pod("client", "192.0.2.77"), "test");
    store_.put(objects);
    allow(Json::parse(R"([{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}],
                           "ports": [{"port": 80}, {"port": 80, "protocol": "UDP"}]}])"));
    workload_.incarnation = 9;
    workload_.endpoint[0] = std::uint64_t{9} << 32 | (store_.endpoint("blue/server", "default").value() + 1);
  }
  void allow(const Json& ingress) {
    store_.apply(Change::of({{"apiVersion", "networking.k8s.io/v1"},
                             {"kind", "NetworkPolicy"},
                             {"metadata", {{"namespace", "blue"}, {"name", "guard"}}},
                             {"spec",
                              {{"podSelector", {{"matchLabels", {{"app", "server"}}}}},
                               {"policyTypes", {"Ingress", "Egress"}},
                               {"ingress", ingress}}}},
                            "test"));
    const Publication publication = store_.publish();
    block_.assign(publication.block.begin(), publication.block.end());
    stage_.use_tables({block_.data(), static_cast<std::uint32_t>(block_.size() * sizeof(block_[0]))},
                      ++generation_);
  }
  std::uint32_t enters(const PacketSpec& spec) {
    return stage_.decide(make_packet(spec), workload_, VMLANE_POLICY_INGRESS, now_).reason;
  }
  std::uint32_t leaves(const PacketSpec& spec) {
    return stage_.decide(make_packet(spec), workload_, VMLANE_POLICY_EGRESS, now_).reason;
  }
  static PacketSpec packet(std::uint8_t flags, std::uint16_t client = 40000) {
    return {.source = ip("192.0.2.77"),
            .destination = ip("192.0.2.2"),
            .source_port = client,
            .tcp_flags = flags};
  }
  void shake_hands(std::uint16_t client = 40000) {
    EXPECT_EQ(enters(packet(kSyn, client)), VMLANE_STAGE_PASS);
    EXPECT_EQ(leaves(answer_to(packet(kSyn, client), kSynAck)), VMLANE_STAGE_PASS);
    EXPECT_EQ(enters(packet(kAck, client)), VMLANE_STAGE_PASS);
  }
  std::map<int, int> states() const {
    std::map<int, int> found;
    for (const vmlane_connection_set& set : stage_.connections()) {
      for (std::uint32_t way = 0; way < VMLANE_CONNECTION_WAYS; way++) {
        if (set.tag[way] != VMLANE_CONNECTION_FREE) found[set.way[way].state]++;
      }
    }
    return found;
  }

  Store store_;
  std::vector<std::uint64_t> block_;
  NativeStage stage_{8, 1};  // one set
  vmlane_policy_workload workload_{};
  std::uint32_t generation_ = 0;
  std::uint32_t now_ = 1000;
};

TEST_F(PolicyStage, TcpConnectionOpensAndCloses) {
  EXPECT_EQ(enters(packet(kAck)), VMLANE_STAGE_NO_CONNECTION);
  shake_hands();
  EXPECT_EQ(states(), (std::map<int, int>{{VMLANE_STATE_OPEN, 1}}));
  EXPECT_EQ(enters(packet(kFin)), VMLANE_STAGE_PASS);
  EXPECT_EQ(states(), (std::map<int, int>{{VMLANE_STATE_HALF_CLOSED, 1}}));
  EXPECT_EQ(leaves(answer_to(packet(0), kFin)), VMLANE_STAGE_PASS);
  EXPECT_EQ(states(), (std::map<int, int>{{VMLANE_STATE_CLOSED, 1}}));
  EXPECT_EQ(enters(packet(kAck)), VMLANE_STAGE_PASS) << "the last acknowledgement";
  now_ += seconds(VMLANE_LIFE_TCP_CLOSED);
  EXPECT_EQ(enters(packet(kAck)), VMLANE_STAGE_NO_CONNECTION);
}

TEST_F(PolicyStage, ClosedPortIsUsedAgain) {
  shake_hands();
  EXPECT_EQ(leaves(answer_to(packet(0), kRst)), VMLANE_STAGE_PASS);
  shake_hands();
  EXPECT_EQ(states(), (std::map<int, int>{{VMLANE_STATE_OPEN, 1}}));
}

TEST_F(PolicyStage, OtherEndOpensNothingOverAConnection) {
  shake_hands();
  EXPECT_EQ(leaves(answer_to(packet(0), kSyn)), VMLANE_STAGE_BY_POLICY);
  EXPECT_EQ(enters(packet(kAck)), VMLANE_STAGE_PASS) << "the connection is as it was";
}

TEST_F(PolicyStage, ConnectionsLiveAsLongAsTheirKindDoes) {
  shake_hands();
  PacketSpec datagram = packet(0, 40001);
  datagram.protocol = kUdp;
  EXPECT_EQ(enters(datagram), VMLANE_STAGE_PASS);
  now_ += seconds(VMLANE_LIFE_UNANSWERED);
  EXPECT_EQ(leaves(answer_to(datagram, 0)), VMLANE_STAGE_BY_POLICY);
  EXPECT_EQ(enters(datagram), VMLANE_STAGE_PASS);
  EXPECT_EQ(leaves(answer_to(datagram, 0)), VMLANE_STAGE_PASS);
  now_ += seconds(VMLANE_LIFE_ANSWERED) - 2;
  EXPECT_EQ(leaves(answer_to(datagram, 0)), VMLANE_STAGE_PASS);
  now_ += seconds(VMLANE_LIFE_ANSWERED);
  EXPECT_EQ(leaves(answer_to(datagram, 0)), VMLANE_STAGE_BY_POLICY);
  EXPECT_EQ(leaves(answer_to(packet(0), kAck)), VMLANE_STAGE_PASS) << "two hours for TCP";
  now_ += seconds(VMLANE_LIFE_TCP_OPEN);
  EXPECT_EQ(leaves(answer_to(packet(0), kAck)), VMLANE_STAGE_BY_POLICY);
}

TEST_F(PolicyStage, ConnectionsInUseGiveTheirPlaceToNobody) {
  for (std::uint16_t client = 0; client < VMLANE_CONNECTION_CAP; client++)
    shake_hands(static_cast<std::uint16_t>(40000 + client));
  EXPECT_EQ(enters(packet(kSyn, 41000)), VMLANE_STAGE_FULL);
  // One that is closing does.
  EXPECT_EQ(enters(packet(kFin, 40003)), VMLANE_STAGE_PASS);
  EXPECT_EQ(enters(packet(kSyn, 41000)), VMLANE_STAGE_PASS);
  // And one that was never answered before it.
  EXPECT_EQ(enters(packet(kSyn, 41001)), VMLANE_STAGE_PASS);
  EXPECT_EQ(leaves(answer_to(packet(0, 41000), kSynAck)), VMLANE_STAGE_BY_POLICY);
  for (const int client : {0, 1, 2, 4, 5})
    EXPECT_EQ(enters(packet(kAck, static_cast<std::uint16_t>(40000 + client))), VMLANE_STAGE_PASS) << client;
}

TEST_F(PolicyStage, DeniedConnectionStaysDeniedWhileItsClientGoesOn) {
  PacketSpec datagram = packet(0);
  datagram.protocol = kUdp;
  shake_hands(40001);
  EXPECT_EQ(enters(datagram), VMLANE_STAGE_PASS);
  allow(Json::array());
  EXPECT_EQ(enters(datagram), VMLANE_STAGE_BY_POLICY);
  EXPECT_EQ(enters(packet(kAck, 40001)), VMLANE_STAGE_BY_POLICY);
  EXPECT_EQ(leaves(answer_to(datagram, 0)), VMLANE_STAGE_BY_POLICY);
  allow(Json::parse("[{}]"));
  EXPECT_EQ(enters(datagram), VMLANE_STAGE_PASS);
  EXPECT_EQ(leaves(answer_to(packet(0, 40001), kAck)), VMLANE_STAGE_PASS);
}

TEST_F(PolicyStage, ConnectionsFromBeforeTheTablesPassForTenSeconds) {
  workload_.loose_until = now_ + seconds(VMLANE_STAGE_LOOSE_SECONDS);
  const auto reply =
      stage_.decide(make_packet(answer_to(packet(0), kAck)), workload_, VMLANE_POLICY_EGRESS, now_);
  EXPECT_TRUE(reply.passes());
  EXPECT_TRUE(reply.loose);
  PacketSpec foreign = packet(kAck);
  foreign.source = ip("192.0.2.88");
  EXPECT_EQ(enters(foreign), VMLANE_STAGE_BY_POLICY);
  now_ = workload_.loose_until + 1;
  EXPECT_EQ(leaves(answer_to(packet(0), kAck)), VMLANE_STAGE_PASS) << "it is known by now";
  EXPECT_EQ(leaves(answer_to(packet(0, 40001), kAck)), VMLANE_STAGE_BY_POLICY);
}

TEST_F(PolicyStage, WithoutTablesTheNodeItselfGetsThroughUnderDeny) {
  workload_.endpoint[0] = 0;
  workload_.flags = VMLANE_STAGE_DENY;
  EXPECT_EQ(enters(packet(kSyn)), VMLANE_STAGE_BY_DEFAULT);
  EXPECT_TRUE(
      stage_.decide(make_packet(packet(kSyn)), workload_, VMLANE_POLICY_INGRESS, now_, true).passes());
  workload_.flags |= VMLANE_STAGE_NO_NODE;
  EXPECT_FALSE(
      stage_.decide(make_packet(packet(kSyn)), workload_, VMLANE_POLICY_INGRESS, now_, true).passes());
}

TEST_F(PolicyStage, WhatCannotBeReadIsNotLetThrough) {
  PacketSpec odd = packet(kSyn);
  odd.tags = 4;
  EXPECT_EQ(enters(odd), VMLANE_STAGE_MALFORMED);
  test::Frame cut = make_packet(packet(kSyn));
  cut.resize(40);
  EXPECT_EQ(stage_.decide(cut, workload_, VMLANE_POLICY_INGRESS, now_).reason, VMLANE_STAGE_MALFORMED);
  const test::Frame foreign =
      test::make_test_frame(MacAddress{{2, 0, 0, 0, 0, 1}}, MacAddress{{2, 0, 0, 0, 0, 2}}, "x");
  EXPECT_EQ(stage_.decide(foreign, workload_, VMLANE_POLICY_INGRESS, now_).reason, VMLANE_STAGE_NOT_IP);
}

}  // namespace
}  // namespace vmlane::policy
