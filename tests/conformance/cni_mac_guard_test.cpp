// SPDX-License-Identifier: Apache-2.0
// Key macspoofchk: what a workload sends under another MAC than its own does not reach the bridge, whatever
// it sends and however it is wrapped.
#include "tests/conformance/sender_test.h"

namespace vmlane::test {
namespace {

constexpr MacAddress kForeignMac{{0x02, 0, 0, 0, 0, 0x66}};
constexpr std::uint16_t kRarpType = 0x8035;
constexpr std::uint16_t kVlan = 0x8100;
constexpr std::uint16_t kServiceVlan = 0x88a8;

Bytes arp_from(const MacAddress& sender) {
  Bytes arp = {0, 1, 8, 0, 6, 4, 0, 1};
  arp.insert(arp.end(), sender.bytes.begin(), sender.bytes.end());
  for (const int byte : {192, 0, 2, 77, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1})
    arp.push_back(static_cast<std::uint8_t>(byte));
  arp.resize(46);  // the least an Ethernet frame carries
  return arp;
}

// `payload` of type `inner` behind one tag for each of `tags`.
Frame tagged(const MacAddress& source, const std::vector<std::uint16_t>& tags, std::uint16_t inner,
             Bytes payload) {
  std::uint16_t type = inner;
  for (const std::uint16_t tag : tags) {
    Bytes wrapped = {0, 7, static_cast<std::uint8_t>(type >> 8), static_cast<std::uint8_t>(type)};
    wrapped.insert(wrapped.end(), payload.begin(), payload.end());
    payload = std::move(wrapped);
    type = tag;
  }
  return make_frame(broadcast_mac(), source, type, payload);
}

// Only the senders of frames and ARP are looked at.
class MacGuardTest : public SenderTest {
 protected:
  void attach(const Json& more = {{"macspoofchk", true}}) {
    Json keys = {{"spoofCheck", false}};
    keys.update(more);
    SenderTest::attach(keys);
  }
};

TEST_P(MacGuardTest, ForeignSourceAddressesDoNotReachTheBridge) {
  attach();
  EXPECT_TRUE(passes(make_test_frame(broadcast_mac(), mac_, "own")));
  MacAddress almost = mac_;
  almost.bytes[5] ^= 1;
  MacAddress first = mac_;
  first.bytes[0] ^= 4;
  for (const MacAddress& source :
       {kForeignMac, almost, first, MacAddress{}, broadcast_mac(), MacAddress{{0x01, 0, 0x5e, 0, 0, 1}}}) {
    EXPECT_FALSE(passes(make_test_frame(broadcast_mac(), source, "foreign"))) << source.to_string();
  }
  EXPECT_FALSE(passes(tagged(kForeignMac, {kVlan}, kEtherTypeTest, Bytes(46, 'x'))));
}

TEST_P(MacGuardTest, ArpOfAnotherSenderDoesNotReachTheBridge) {
  attach();
  const std::vector<std::vector<std::uint16_t>> wrappings = {
      {}, {kVlan}, {kVlan, kServiceVlan}, {kVlan, kVlan, kServiceVlan}};
  for (const auto& tags : wrappings) {
    for (const std::uint16_t type : {kEtherTypeArp, kRarpType}) {
      SCOPED_TRACE(std::to_string(tags.size()) + " tags, type " + std::to_string(type));
      EXPECT_TRUE(passes(tagged(mac_, tags, type, arp_from(mac_))));
      EXPECT_FALSE(passes(tagged(mac_, tags, type, arp_from(kForeignMac))));
    }
  }
}

TEST_P(MacGuardTest, ArpThatCannotBeReadDoesNotReachTheBridge) {
  attach();
  EXPECT_FALSE(passes(make_frame(broadcast_mac(), mac_, kEtherTypeArp, Bytes(13, 0))));
  Bytes long_address = arp_from(mac_);
  long_address[4] = 8;
  EXPECT_FALSE(passes(make_frame(broadcast_mac(), mac_, kEtherTypeArp, long_address)));
}

TEST_P(MacGuardTest, WithoutTheKeyAllPasses) {
  attach(Json::object());
  EXPECT_TRUE(passes(make_test_frame(broadcast_mac(), kForeignMac, "foreign")));
  EXPECT_TRUE(passes(make_frame(broadcast_mac(), mac_, kEtherTypeArp, arp_from(kForeignMac))));
}

TEST_P(MacGuardTest, MacThatTheRuntimeAskedForIsTheOneThatPasses) {
  const MacAddress asked{{0x02, 0, 0, 0, 0, 0x31}};
  attach({{"macspoofchk", true}, {"runtimeConfig", {{"mac", asked.to_string()}}}});
  EXPECT_EQ(mac_, asked);
  EXPECT_FALSE(passes(make_test_frame(broadcast_mac(), kForeignMac, "foreign")));
}

TEST_P(MacGuardTest, CheckTellsThatItIsGone) {
  attach();
  EXPECT_CNI_OK(check(*pods().at("a"), conf_, result_));
  must({"tc", "qdisc", "del", "dev", host_link(), "clsact"});
  const CniOutcome outcome = check(*pods().at("a"), conf_, result_);
  EXPECT_CNI_ERROR(outcome, Code::kChanged);
  EXPECT_NE(outcome.message().find(host_link()), std::string::npos) << outcome;
}

TEST_P(MacGuardTest, GoesWithTheAttachment) {
  make_pod("a");
  const Snapshot before = snapshot();
  attach();
  EXPECT_CNI_OK(del("/run/netns/a", conf_));
  guest_.reset();
  EXPECT_SNAP_CLEAN(before, snapshot());
}

VMLANE_FOR_BRIDGE_LANES(MacGuardTest);

class VethMacGuardTest : public MacGuardTest {};

TEST_P(VethMacGuardTest, HonestTrafficGoesOn) {
  attach();
  const PingResult result = reach("/run/netns/a", "192.0.2.1");
  EXPECT_TRUE(result.all()) << result.output;
  EXPECT_EQ(tcp_transfer("/run/netns/a", "/proc/self/ns/net", "192.0.2.1", std::uint64_t{4} << 20), "");
}

INSTANTIATE_TEST_SUITE_P(Lane, VethMacGuardTest, ::testing::Values("vmlane-veth"),
                         [](const ::testing::TestParamInfo<std::string>&) { return "veth"; });

}  // namespace
}  // namespace vmlane::test
