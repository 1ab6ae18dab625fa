// SPDX-License-Identifier: Apache-2.0
// Guest answers as a plugin sets them up: the guest is told on its own port what IPAM gave, and nobody else
// sees that it asked.
#include <map>

#include "ebpf/workload.h"
#include "tests/conformance/sender_test.h"
#include "tests/support/guest_messages.h"

namespace vmlane::test {
namespace {

constexpr std::uint8_t kDiscover = 1;
constexpr std::uint8_t kOffer = 2;
constexpr std::chrono::milliseconds kPatience{2000};

class GuestAnswersTest : public SenderTest {
 protected:
  void attach(const Json& more = Json::object()) {
    SenderTest::attach(more);
    for (const Json& ip : result_["ips"]) {
      const std::string address = ip["address"].get<std::string>();
      address_ = address.substr(0, address.find('/'));
    }
  }
  // The reply to a frame: what comes back to the guest's MAC, if anything does.
  std::optional<Frame> ask(const Frame& question) const {
    guest_->send(question);
    return guest_->receive(
        [&](const Frame& got) { return destination_of(got) == mac_ && !carries(got, "mark"); }, kPatience);
  }
  DhcpQuestion discover() const { return {.type = kDiscover, .xid = 0x0badcafe}; }
  std::map<std::string, std::uint64_t> answered() const {
    const auto record = RecordStore(node()).read(id_of());
    const auto handle = ebpf::WorkloadHandle::from_json((**record).handles["workload"]);
    const auto status = ebpf::workload_status(*handle, id_of());
    return {status->answered.begin(), status->answered.end()};
  }

  std::string address_;
};

TEST_P(GuestAnswersTest, GuestIsOfferedTheAddressThatIpamGave) {
  attach();
  const auto reply = ask(make_dhcp(mac_, discover()));
  ASSERT_TRUE(reply.has_value());
  const Reply frame = read_reply(*reply);
  EXPECT_TRUE(frame.sums_right);
  const DhcpReply offer = read_dhcp(frame.payload);
  EXPECT_EQ(offer.type, kOffer);
  EXPECT_EQ(offer.xid, 0x0badcafeU);
  EXPECT_EQ(offer.yours, address_);
  constexpr int kMtu = 26;
  ASSERT_TRUE(offer.options.contains(kMtu));
  EXPECT_EQ(offer.options.at(kMtu), (Bytes{0x05, 0xdc}));
  EXPECT_EQ(answered().at("dhcp-offer"), 1U);
  EXPECT_CNI_OK(check(*pods().at("a"), conf_, result_));
}

// The shortest way through the program is that of plain traffic, which must not go on for ever without one.
TEST_P(GuestAnswersTest, PlainIpv6TrafficBringsARouterAdvertisementAndStaysPlain) {
  attach({{"ipam",
           {{"type", "host-local"},
            {"dataDir", ipam_dir().string()},
            {"ranges", {{{{"subnet", "2001:db8::/64"}}}}},
            {"routes", {{{"dst", "::/0"}}}}}}});
  const MacAddress gateway = MacAddress::parse(link_of("", "br1")["address"].get<std::string>()).value();
  const Frame plain =
      make_udp({mac_, gateway, ip(address_), ip("2001:db8:1::1")}, 1000, 2000, Bytes(32, 'x'));
  const MacAddress all_nodes{{0x33, 0x33, 0, 0, 0, 1}};
  const auto advertised = [&](std::chrono::milliseconds patience) {
    return guest_->receive(
        [&](const Frame& got) {
          return destination_of(got) == all_nodes && got.size() > 78 && got[78] == 134;
        },
        patience);
  };
  EXPECT_TRUE(passes(plain));
  const auto frame = advertised(kPatience);
  ASSERT_TRUE(frame.has_value());
  EXPECT_EQ(answered().at("ra-refresh"), 1U);
  for (int i = 0; i < 5; i++) EXPECT_TRUE(passes(plain));
  EXPECT_EQ(answered().at("ra-refresh"), 1U);
  EXPECT_CNI_OK(check(*pods().at("a"), conf_, result_));
}

TEST_P(GuestAnswersTest, QuestionsDoNotLeaveTheGuestsPort) {
  attach();
  EXPECT_FALSE(passes(make_dhcp(mac_, discover())));
}

TEST_P(GuestAnswersTest, SwitchedOffTheyPass) {
  attach({{"guestAnswers", false}});
  EXPECT_TRUE(passes(make_dhcp(mac_, discover())));
}

TEST_P(GuestAnswersTest, VirtualGatewayAnswersArp) {
  attach({{"isGateway", false},
          {"gatewayMode", "virtual"},
          {"ipam",
           {{"type", "host-local"},
            {"dataDir", ipam_dir().string()},
            {"ranges", {{{{"subnet", "192.0.2.0/24"}, {"gateway", "192.0.2.254"}}}}},
            {"routes", {{{"dst", "0.0.0.0/0"}}}}}}});
  const auto reply = ask(make_arp_request(mac_, address_, "192.0.2.254"));
  ASSERT_TRUE(reply.has_value());
  EXPECT_EQ(ether_type_of(*reply), kEtherTypeArp);
  EXPECT_TRUE(source_of(*reply).usable());
  EXPECT_FALSE(passes(make_arp_request(mac_, address_, "192.0.2.254")));
  EXPECT_TRUE(passes(make_arp_request(mac_, address_, "192.0.2.77")));
}

TEST_P(GuestAnswersTest, WithoutTheGuardTheyAreGivenAllTheSame) {
  attach({{"spoofCheck", false}});
  EXPECT_TRUE(ask(make_dhcp(mac_, discover())).has_value());
}

// A secondary network is not to take the default route: a router is named only where IPAM gives a default
// route, the server always, and other routes are told as classless ones.
TEST_P(GuestAnswersTest, F112_RouterIsToldOnlyWhereADefaultRouteIs) {
  constexpr int kRouter = 3;
  constexpr int kServer = 54;
  constexpr int kClasslessRoutes = 121;
  const auto offer_with = [&](const Json& routes) {
    attach({{"isGateway", false},
            {"gatewayMode", "virtual"},
            {"ipam",
             {{"type", "host-local"},
              {"dataDir", ipam_dir().string()},
              {"ranges", {{{{"subnet", "192.0.2.0/24"}}}}},
              {"routes", routes}}}});
    const auto reply = ask(make_dhcp(mac_, discover()));
    EXPECT_TRUE(reply.has_value());
    guest_.reset();
    EXPECT_CNI_OK(del("/run/netns/a", conf_));
    pods().at("a")->remove();
    return reply ? read_dhcp(read_reply(*reply).payload) : DhcpReply();
  };
  const DhcpReply none = offer_with(Json::array());
  EXPECT_EQ(none.options.at(kServer), bytes_of(ip("192.0.2.1")));
  EXPECT_FALSE(none.options.contains(kRouter));
  EXPECT_FALSE(none.options.contains(kClasslessRoutes));
  const DhcpReply one = offer_with({{{"dst", "203.0.113.0/24"}}});
  EXPECT_FALSE(one.options.contains(kRouter));
  EXPECT_EQ(one.options.at(kClasslessRoutes), (Bytes{24, 203, 0, 113, 192, 0, 2, 1}));
  const DhcpReply all = offer_with({{{"dst", "0.0.0.0/0"}}});
  EXPECT_EQ(all.options.at(kRouter), bytes_of(ip("192.0.2.1")));
}

// Renewals are answered for as long as the attachment lives, whatever becomes of what made it.
TEST_P(GuestAnswersTest, F112_LeaseIsRenewedAndStrangersAreNotServed) {
  attach({{"spoofCheck", false}});
  const DhcpQuestion renewal{.type = 3, .xid = 7, .client = address_, .destination = "192.0.2.1"};
  const auto reply = ask(make_dhcp(mac_, renewal));
  ASSERT_TRUE(reply.has_value());
  EXPECT_EQ(read_dhcp(read_reply(*reply).payload).type, 5);
  const MacAddress stranger{{0x02, 0, 0, 0, 0x99, 0x99}};
  guest_->send(make_dhcp(stranger, discover()));
  EXPECT_FALSE(guest_->receive([&](const Frame& got) { return destination_of(got) == stranger; }, kPatience));
}

TEST_P(GuestAnswersTest, BadKeysAreNamed) {
  const Pod& pod = make_pod("a");
  const std::vector<std::pair<Json, std::string>> cases = {
      {{{"guestAnswers", 7}}, "guestAnswers"},
      {{{"guestAnswers", {{"leaseSeconds", 0}}}}, "leaseSeconds"},
      {{{"guestAnswers", {{"dhcp", true}}}}, "guestAnswers.dhcp"},
      {{{"gatewayMode", "none"}}, "gatewayMode"},
      {{{"gatewayMode", "virtual"}, {"isGateway", true}}, "gatewayMode"},
      {{{"guestAnswers", true}, {"ipam", nullptr}}, "guestAnswers"},
  };
  for (const auto& [keys, culprit] : cases) {
    SCOPED_TRACE(keys.dump());
    expect_refused(call("ADD", pod.path(), config(keys)), Code::kInvalidConfig, {culprit});
  }
}

VMLANE_FOR_TAP(GuestAnswersTest);

}  // namespace
}  // namespace vmlane::test
