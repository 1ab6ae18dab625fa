// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/dataplane/switch_test.h"

namespace vmlane::test {
namespace {

using lab::VirtioFeatures;
using std::chrono::milliseconds;

constexpr milliseconds kShort{300};  // in which nothing is to come

using Forwarding = SwitchTest;

TEST_F(Forwarding, GivesAFrameToTheGuestThatHasItsDestinationAndToNobodyElse) {
  start_switch();
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  Nic c = connect_nic("c", inside());
  EXPECT_TRUE(passes(a, b, "hello"));
  EXPECT_TRUE(passes(b, a, "and back"));
  EXPECT_FALSE(arrives(c, "hello", kShort));
}

TEST_F(Forwarding, GivesABroadcastToAllOthersOfTheNetwork) {
  start_switch();
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  Nic c = connect_nic("c", inside());
  Nic other = connect_nic("d", inside({{"vlan", 7}}));
  a.guest->send(make_test_frame(broadcast_mac(), a.mac, "to all"));
  EXPECT_TRUE(arrives(b, "to all"));
  EXPECT_TRUE(arrives(c, "to all"));
  EXPECT_FALSE(arrives(a, "to all", kShort)) << "it came back to its sender";
  EXPECT_FALSE(arrives(other, "to all", kShort)) << "it left its VLAN";
}

TEST_F(Forwarding, DropsWhatAGuestSendsUnderAForeignMac) {
  start_switch();
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  a.guest->send(make_test_frame(b.mac, *MacAddress::parse("02:00:00:00:00:99"), "forged"));
  EXPECT_FALSE(arrives(b, "forged", kShort));
  EXPECT_TRUE(eventually([&] { return drops_at(a, "mac") == 1; }, kPatience));
}

TEST_F(Forwarding, LearnsTheMacsOfAGuestThatMayHaveMore) {
  start_switch();
  Nic a = connect_nic("a", inside({{"spoofCheck", false}}));
  Nic b = connect_nic("b", inside());
  const MacAddress nested = *MacAddress::parse("02:00:00:00:00:99");
  a.guest->send(make_test_frame(b.mac, nested, "from inside"));
  ASSERT_TRUE(arrives(b, "from inside"));
  b.guest->send(make_test_frame(nested, b.mac, "to inside"));
  EXPECT_TRUE(arrives(a, "to inside"));
  const Json macs = ask("macs");
  const bool learned = std::ranges::any_of(macs, [&](const Json& row) {
    return row.value("mac", "") == nested.to_string() && row.value("kind", "") == "learned";
  });
  EXPECT_TRUE(learned) << macs;
  // Nobody takes the address of an attachment by sending from it.
  a.guest->send(make_test_frame(broadcast_mac(), b.mac, "mine now"));
  EXPECT_TRUE(eventually([&] { return drops_at(a, "local-mac") == 1; }, kPatience));
}

TEST_F(Forwarding, KeepsIsolatedGuestsApart) {
  start_switch();
  Nic a = connect_nic("a", inside({{"portIsolation", true}}));
  Nic b = connect_nic("b", inside({{"portIsolation", true}}));
  Nic open = connect_nic("c", inside());
  a.guest->send(make_test_frame(b.mac, a.mac, "over the wall"));
  a.guest->send(make_test_frame(broadcast_mac(), a.mac, "to all"));
  EXPECT_TRUE(arrives(open, "to all"));
  EXPECT_FALSE(arrives(b, "over the wall", kShort));
  EXPECT_EQ(drops_at(a, "isolated"), 1U);
  EXPECT_TRUE(passes(a, open, "through the gate"));
}

TEST_F(Forwarding, DropsWhatIsAboveTheReceiversMtuAndCarriesJumboFrames) {
  start_switch();
  Nic a = connect_nic("a", inside({{"mtu", 9000}}));
  Nic b = connect_nic("b", inside({{"mtu", 9000}}));
  Nic small = connect_nic("c", inside({{"mtu", 1500}}));
  const std::string jumbo(8900, 'j');
  EXPECT_TRUE(passes(a, b, jumbo));
  a.guest->send(make_test_frame(small.mac, a.mac, jumbo));
  EXPECT_TRUE(eventually([&] { return drops_at(small, "too-big") == 1; }, kPatience));
  EXPECT_TRUE(passes(a, small, "small enough"));
}

TEST_F(Forwarding, UsesAllRingsOfAGuestAndKeepsAFlowOnOne) {
  constexpr unsigned kPairs = 4;
  start_switch();
  Nic a = connect_nic("a", inside({{"spoofCheck", false}}), VirtioFeatures::kAll, kPairs);
  Nic b = connect_nic("b", inside({{"spoofCheck", false}}), VirtioFeatures::kAll, kPairs);
  EXPECT_EQ(port_of(a).value("pairs", 0U), kPairs);
  for (unsigned pair = 0; pair < kPairs; pair++) {
    const std::string text = "by ring " + std::to_string(pair);
    ASSERT_TRUE(a.guest->send(make_test_frame(b.mac, a.mac, text), {}, pair));
  }
  // All between the same two addresses: one flow, so one ring has all of them, in any order of the senders'.
  unsigned rings = 0;
  unsigned frames = 0;
  for (unsigned pair = 0; pair < kPairs; pair++) {
    unsigned here = 0;
    while (b.guest->receive_within(std::chrono::milliseconds(500), pair)) here++;
    rings += here != 0 ? 1 : 0;
    frames += here;
  }
  EXPECT_EQ(frames, kPairs);
  EXPECT_EQ(rings, 1U);
}

TEST_F(Forwarding, TakesFramesFromIndirectDescriptorsAndGivesThemToAPlainDriver) {
  start_switch();
  Nic a = make_nic("a", inside());
  a.guest.reset();
  a.guest = *lab::VhostFrontend::listen({.socket = a.result["interfaces"].back().value("socketPath", ""),
                                         .features = VirtioFeatures::kAll | VirtioFeatures::kIndirect,
                                         .indirect = true});
  connect(a);
  Nic b = connect_nic("b", inside(), VirtioFeatures::kPlain);
  EXPECT_TRUE(passes(a, b, "by indirect descriptors"));
  EXPECT_TRUE(passes(b, a, "by plain ones"));
}

TEST_F(Forwarding, StopsAFloodOfBroadcastsButNotTheGuestsOtherFrames) {
  start_switch();
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  const Frame storm = make_test_frame(broadcast_mac(), a.mac, "storm");
  EXPECT_TRUE(eventually(
      [&] {
        for (int i = 0; i < 2000; i++) a.guest->send(storm);
        while (b.guest->receive()) {
        }
        return drops_at(a, "flood-limit") > 0;
      },
      std::chrono::seconds(30)));
  // What is in the ring still goes first.
  EXPECT_TRUE(eventually([&] { return a.guest->send(make_test_frame(b.mac, a.mac, "calm")); }, kPatience));
  EXPECT_TRUE(arrives(b, "calm"));
}

TEST_F(Forwarding, AnswersTheGuestsQuestionsByItself) {
  start_switch();
  const Json conf = inside(
      {{"gatewayMode", "virtual"}, {"ipam", overlaid(host_local(), {{"routes", {{{"dst", "0.0.0.0/0"}}}}})}});
  Nic a = connect_nic("a", conf);
  // Who has the gateway's address?
  const IpAddress gateway = *IpAddress::parse(a.result["ips"][0].value("gateway", ""));
  Frame question = make_arp_announcement(a.mac, gateway);
  constexpr std::size_t kSenderAddress = kEthernetHeader + 14;
  std::copy_n(a.address->bytes.begin(), 4, question.begin() + kSenderAddress);
  ASSERT_TRUE(a.guest->send(question));
  const auto reply = a.guest->receive_within(kPatience);
  ASSERT_TRUE(reply);
  EXPECT_EQ(ether_type_of(reply->bytes), kEtherTypeArp);
  EXPECT_EQ(destination_of(reply->bytes), a.mac);
}

}  // namespace
}  // namespace vmlane::test
