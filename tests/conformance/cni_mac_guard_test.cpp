// SPDX-License-Identifier: Apache-2.0
// Key macspoofchk: what a workload sends under another MAC than its own does not reach the bridge, whatever
// it sends and however it is wrapped.
#include <algorithm>

#include "tests/conformance/lane_test.h"
#include "tests/support/frames.h"
#include "tests/support/guest.h"
#include "tests/support/traffic.h"

namespace vmlane::test {
namespace {

constexpr MacAddress kForeign{{0x02, 0, 0, 0, 0, 0x66}};
constexpr std::uint16_t kRarp = 0x8035;
constexpr std::uint16_t kVlan = 0x8100;
constexpr std::uint16_t kServiceVlan = 0x88a8;

using Bytes = std::vector<std::uint8_t>;

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

class MacGuardTest : public LaneTest {
 protected:
  void attach(const Json& more = {{"macspoofchk", true}}) {
    Json keys = {{"isGateway", true}};
    keys.update(more);
    conf_ = config(keys);
    const CniOutcome outcome = add(make_pod("a"), conf_);
    ASSERT_CNI_OK(outcome);
    result_ = *outcome.document;
    mac_ = MacAddress::parse(sandbox_interface(result_)["mac"].get<std::string>()).value();
    // What the bridge would bring up to the node, once the port is open.
    if (is_tap()) guest_.emplace("/run/netns/a", "tap0", mac_);
    if (!is_tap()) wire_.emplace("/run/netns/a", "eth0");
    seen_.emplace("", "br1");
    ASSERT_TRUE(eventually([&] { return passes(make_test_frame(broadcast_mac(), mac_, "open?")); }));
  }
  void send(const Frame& frame) const { is_tap() ? guest_->send(frame) : wire_->send(frame); }
  // Whether the frame reaches the bridge: it does before one that is known to pass.
  bool passes(const Frame& frame) {
    seen_->collect(std::chrono::milliseconds(0));
    const std::string mark = "mark " + std::to_string(count_++);
    send(frame);
    send(make_test_frame(broadcast_mac(), mac_, mark));
    bool found = false;
    seen_->receive(
        [&](const Frame& got) {
          found = found || is_same(got, frame);
          return carries(got, mark);
        },
        std::chrono::seconds(2));
    return found;
  }
  // The kernel hands a packet socket the frame without its outermost tag.
  static bool is_same(const Frame& got, const Frame& sent) {
    if (got == sent) return true;
    Frame bare = sent;
    bare.erase(bare.begin() + 12, bare.begin() + 16);
    return got == bare;
  }
  std::string host_link() const { return host_link_of(id_of())["ifname"]; }

  Json conf_;
  Json result_;
  MacAddress mac_;
  std::optional<FakeGuest> guest_;
  std::optional<PacketSocket> wire_;
  std::optional<PacketSocket> seen_;
  int count_ = 0;
};

TEST_P(MacGuardTest, ForeignSourceAddressesDoNotReachTheBridge) {
  attach();
  EXPECT_TRUE(passes(make_test_frame(broadcast_mac(), mac_, "own")));
  MacAddress almost = mac_;
  almost.bytes[5] ^= 1;
  MacAddress first = mac_;
  first.bytes[0] ^= 4;
  for (const MacAddress& source :
       {kForeign, almost, first, MacAddress{}, broadcast_mac(), MacAddress{{0x01, 0, 0x5e, 0, 0, 1}}}) {
    EXPECT_FALSE(passes(make_test_frame(broadcast_mac(), source, "foreign"))) << source.to_string();
  }
  EXPECT_FALSE(passes(tagged(kForeign, {kVlan}, kEtherTypeTest, Bytes(46, 'x'))));
}

TEST_P(MacGuardTest, ArpOfAnotherSenderDoesNotReachTheBridge) {
  attach();
  const std::vector<std::vector<std::uint16_t>> wrappings = {
      {}, {kVlan}, {kVlan, kServiceVlan}, {kVlan, kVlan, kServiceVlan}};
  for (const auto& tags : wrappings) {
    for (const std::uint16_t type : {kEtherTypeArp, kRarp}) {
      SCOPED_TRACE(std::to_string(tags.size()) + " tags, type " + std::to_string(type));
      EXPECT_TRUE(passes(tagged(mac_, tags, type, arp_from(mac_))));
      EXPECT_FALSE(passes(tagged(mac_, tags, type, arp_from(kForeign))));
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
  EXPECT_TRUE(passes(make_test_frame(broadcast_mac(), kForeign, "foreign")));
  EXPECT_TRUE(passes(make_frame(broadcast_mac(), mac_, kEtherTypeArp, arp_from(kForeign))));
}

TEST_P(MacGuardTest, MacThatTheRuntimeAskedForIsTheOneThatPasses) {
  const MacAddress asked{{0x02, 0, 0, 0, 0, 0x31}};
  attach({{"macspoofchk", true}, {"runtimeConfig", {{"mac", asked.to_string()}}}});
  EXPECT_EQ(mac_, asked);
  EXPECT_FALSE(passes(make_test_frame(broadcast_mac(), kForeign, "foreign")));
}

TEST_P(MacGuardTest, CheckTellsThatItIsGone) {
  attach();
  EXPECT_CNI_OK(check(*pods().at("a"), conf_, result_));
  must({"tc", "qdisc", "del", "dev", host_link(), "clsact"});
  const CniOutcome outcome = check(*pods().at("a"), conf_, result_);
  EXPECT_CNI_ERROR(outcome, Code::kChanged);
  for (const std::string& culprit : {host_link(), mac_.to_string()})
    EXPECT_NE(outcome.message().find(culprit), std::string::npos) << outcome;
}

TEST_P(MacGuardTest, GoesWithTheAttachment) {
  make_pod("a");
  const Snapshot before = snapshot();
  attach();
  EXPECT_CNI_OK(del("/run/netns/a", conf_));
  guest_.reset();
  EXPECT_SNAP_CLEAN(before, snapshot());
}

VMLANE_FOR_EACH_LANE(MacGuardTest);

class VethMacGuardTest : public MacGuardTest {};

TEST_P(VethMacGuardTest, HonestTrafficGoesOn) {
  attach();
  const PingResult result = ping("/run/netns/a", "192.0.2.1");
  EXPECT_TRUE(result.all()) << result.output;
  EXPECT_EQ(tcp_transfer("/run/netns/a", "/proc/self/ns/net", "192.0.2.1", std::uint64_t{4} << 20), "");
}

INSTANTIATE_TEST_SUITE_P(Lane, VethMacGuardTest, ::testing::Values("vmlane-veth"),
                         [](const ::testing::TestParamInfo<std::string>&) { return "veth"; });

}  // namespace
}  // namespace vmlane::test
