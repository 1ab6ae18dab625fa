// SPDX-License-Identifier: Apache-2.0
// What a guest is told: the templates' content and the rules by which they become replies, in the native
// build.
#include <algorithm>
#include <functional>
#include <map>
#include <random>

#include "answers/native.h"
#include "tests/support/answer_examples.h"

namespace vmlane::test {
namespace {

using answers::AnswerPlan;
using answers::Verdict;

Bytes text(std::string_view value) {
  return {value.begin(), value.end()};
}

Bytes dns_text(std::string_view value) {  // "\4blue\7example\0" with the last zero
  Bytes out = text(value);
  out.push_back(0);
  return out;
}

const Bytes kRoomForAll{57, 2, 0x05, 0xdc};

class AnswersTest : public ::testing::Test {
 protected:
  void build() { answers_ = value_of(answers::build_answers(plan_)); }
  // The verdict on a question, and the frame as it is then.
  Verdict ask(const Frame& question) {
    if (!answers_) build();
    frame_ = question;
    frame_.resize(question.size() + answers::kAnswerCapacity);
    const answers::Answer answer = answers::answer(frame_, question.size(), *answers_);
    frame_.resize(answer.length);
    return answer.verdict;
  }
  Reply reply_to(const Frame& question) {
    EXPECT_EQ(ask(question), Verdict::kReply);
    Reply reply = read_reply(frame_);
    EXPECT_TRUE(reply.sums_right);
    EXPECT_TRUE(reply.lengths_right);
    EXPECT_EQ(reply.source_mac, kVirtualGateway);
    return reply;
  }
  DhcpReply dhcp(const DhcpQuestion& question) {
    return read_dhcp(reply_to(make_dhcp(kAskingGuest, question)).payload);
  }
  Dhcp6Reply dhcp6(const Dhcp6Question& question) {
    return read_dhcp6(reply_to(make_dhcp6(kAskingGuest, question)).payload);
  }
  Bytes server_duid() {
    if (!answers_) build();
    return server_duid_of(*answers_);
  }
  void expect_untouched(const Frame& question) {
    EXPECT_EQ(ask(question), Verdict::kNotOurs);
    EXPECT_EQ(frame_, question);
  }
  void expect_refused(std::string_view part) {
    EXPECT_REFUSED(answers::build_answers(plan_), Code::kInvalidConfig, part);
  }

  AnswerPlan plan_ = example_plan();
  std::unique_ptr<vmlane_answers> answers_;
  Frame frame_;
};

TEST_F(AnswersTest, NothingIsAnsweredByZeros) {
  vmlane_answers none{};
  build();
  for (const auto& [name, question] : example_questions(*answers_)) {
    Frame frame = question;
    EXPECT_EQ(answers::answer(frame, frame.size(), none).verdict, Verdict::kNotOurs) << name;
    EXPECT_EQ(frame, question) << name;
  }
}

TEST_F(AnswersTest, DiscoverBringsAnOfferWithAllThatTheGuestNeeds) {
  const Reply frame = reply_to(make_dhcp(kAskingGuest, {.xid = 0xdeadbeef}));
  EXPECT_EQ(frame.destination_mac, kAskingGuest);
  EXPECT_EQ(frame.destination, ip("192.0.2.10"));
  EXPECT_EQ(frame.source, ip("192.0.2.1"));
  EXPECT_EQ(frame.source_port, 67);
  EXPECT_EQ(frame.destination_port, 68);
  const DhcpReply reply = read_dhcp(frame.payload);
  EXPECT_EQ(reply.type, 2);
  EXPECT_EQ(reply.xid, 0xdeadbeefU);
  EXPECT_EQ(reply.yours, "192.0.2.10");
  EXPECT_EQ(reply.client, "0.0.0.0");
  EXPECT_EQ(reply.hardware_address, kAskingGuest);
  EXPECT_TRUE(reply.ended);
  const std::map<int, Bytes> expected{
      {53, {2}},
      {54, {192, 0, 2, 1}},
      {51, {255, 255, 255, 255}},
      {1, {255, 255, 255, 0}},
      {3, {192, 0, 2, 1}},
      {6, {198, 51, 100, 53, 198, 51, 100, 54}},
      {12, text("vm-a")},
      {15, text("blue.example")},
      {26, {1400 >> 8, 1400 & 0xff}},
      {28, {192, 0, 2, 255}},
      {119, joined_bytes({dns_text("\4blue\7example"), dns_text("\7example")})},
  };
  EXPECT_EQ(reply.options, expected);
}

TEST_F(AnswersTest, RequestInEachStateIsAcknowledged) {
  const std::vector<DhcpQuestion> questions{
      {.type = 3, .requested = "192.0.2.10", .server = "192.0.2.1"},
      {.type = 3, .requested = "192.0.2.10"},
      {.type = 3, .client = "192.0.2.10", .destination = "192.0.2.1"},
      {.type = 3, .client = "192.0.2.10"},
  };
  for (const DhcpQuestion& question : questions) {
    const DhcpReply reply = dhcp(question);
    EXPECT_EQ(reply.type, 5);
    EXPECT_EQ(reply.yours, "192.0.2.10");
    EXPECT_EQ(reply.client, question.client);
  }
}

TEST_F(AnswersTest, WrongAddressIsRefusedToAllAndAnotherServersClientLeftAlone) {
  const Frame wrong = make_dhcp(kAskingGuest, {.type = 3, .requested = "192.0.2.77", .client_id = {1, 2, 3}});
  const Reply frame = reply_to(wrong);
  EXPECT_EQ(frame.destination_mac, broadcast_mac());
  EXPECT_EQ(frame.destination, ip("255.255.255.255"));
  const DhcpReply reply = read_dhcp(frame.payload);
  EXPECT_EQ(reply.type, 6);
  EXPECT_EQ(reply.yours, "0.0.0.0");
  EXPECT_EQ(reply.options, (std::map<int, Bytes>{{53, {6}}, {54, {192, 0, 2, 1}}, {61, {1, 2, 3}}}));
  expect_untouched(make_dhcp(kAskingGuest, {.type = 3, .requested = "192.0.2.10", .server = "192.0.2.2"}));
}

TEST_F(AnswersTest, InformIsAnsweredWithoutLease) {
  const Reply frame = reply_to(make_dhcp(kAskingGuest, {.type = 8, .client = "192.0.2.99"}));
  EXPECT_EQ(frame.destination, ip("192.0.2.99"));
  const DhcpReply reply = read_dhcp(frame.payload);
  EXPECT_EQ(reply.type, 5);
  EXPECT_EQ(reply.yours, "0.0.0.0");
  EXPECT_FALSE(reply.options.contains(51));
  EXPECT_TRUE(reply.options.contains(6));
}

TEST_F(AnswersTest, ClientIdentifierComesBackWhateverItsLength) {
  for (const std::size_t length : {1U, 2U, 7U, 16U, 17U, 33U, 128U, 255U}) {
    Bytes id(length);
    for (std::size_t i = 0; i < length; i++) id[i] = static_cast<std::uint8_t>(i * 7 + 1);
    EXPECT_EQ(dhcp({.client_id = id}).options.at(61), id) << length;
    EXPECT_EQ(dhcp({.client_id = id, .more = Bytes(100, 0)}).options.at(61), id) << length;
  }
}

TEST_F(AnswersTest, BroadcastIsUsedWhenAskedForAndNeverForAConfiguredClient) {
  EXPECT_EQ(reply_to(make_dhcp(kAskingGuest, {.flags = 0x8000})).destination, ip("255.255.255.255"));
  EXPECT_EQ(reply_to(make_dhcp(kAskingGuest, {.flags = 0x8000})).destination_mac, broadcast_mac());
  EXPECT_EQ(dhcp({.flags = 0x8000}).flags, 0x8000);
  const Reply renewed =
      reply_to(make_dhcp(kAskingGuest, {.type = 3, .flags = 0x8000, .client = "192.0.2.10"}));
  EXPECT_EQ(renewed.destination, ip("192.0.2.10"));
  EXPECT_EQ(renewed.destination_mac, kAskingGuest);
}

TEST_F(AnswersTest, ReleaseAndDeclineAreSwallowed) {
  EXPECT_EQ(ask(make_dhcp(kAskingGuest, {.type = 7, .client = "192.0.2.10"})), Verdict::kDrop);
  EXPECT_EQ(ask(make_dhcp(kAskingGuest, {.type = 4, .requested = "192.0.2.10"})), Verdict::kDrop);
  EXPECT_EQ(answers_->counters[VMLANE_COUNT_SILENT], 2U);
}

TEST_F(AnswersTest, WhatIsNotTheGuestsOwnDhcpIsLeftAlone) {
  expect_untouched(make_dhcp(kAskingGuest, {.type = 0}));
  expect_untouched(make_dhcp(kAskingGuest, {.cookie = false}));
  expect_untouched(make_dhcp(kAskingGuest, {.relay = "192.0.2.200"}));
  expect_untouched(make_dhcp({{2, 0, 0, 0, 0, 9}}, {}));
  Frame behind = make_dhcp({{2, 0, 0, 0, 0, 9}}, {});
  std::ranges::copy(kAskingGuest.bytes, behind.begin() + 6);  // sent by the guest for a machine behind it
  expect_untouched(behind);
}

TEST_F(AnswersTest, LeaseWithAnEndHasTimesToRenew) {
  plan_.lease_seconds = 3600;
  const auto options = dhcp({}).options;
  EXPECT_EQ(options.at(51), (Bytes{0, 0, 0x0e, 0x10}));
  EXPECT_EQ(options.at(58), (Bytes{0, 0, 0x07, 0x08}));
  EXPECT_EQ(options.at(59), (Bytes{0, 0, 0x0c, 0x4e}));
}

TEST_F(AnswersTest, F112_RoutesAreClasslessAndIncludeTheDefault) {
  plan_.ipv4->routes = {{value_of(IpPrefix::parse("203.0.113.0/24")), ip("192.0.2.3")},
                        {value_of(IpPrefix::parse("198.51.100.128/25")), ip("192.0.2.1")}};
  EXPECT_EQ(dhcp({}).options.at(121),
            (Bytes{24, 203, 0, 113, 192, 0, 2, 3, 25, 198, 51, 100, 128, 192, 0, 2, 1, 0, 192, 0, 2, 1}));
  answers_.reset();
  plan_.ipv4->default_route = false;
  const auto options = dhcp({}).options;
  EXPECT_FALSE(options.contains(3));
  EXPECT_EQ(options.at(121).size(), 17U);
}

TEST_F(AnswersTest, F112_GatewayOffTheLinkIsMadeReachableFirst) {
  plan_.ipv4->address = value_of(IpPrefix::parse("192.0.2.10/32"));
  const auto options = dhcp({}).options;
  EXPECT_EQ(options.at(1), (Bytes{255, 255, 255, 255}));
  EXPECT_FALSE(options.contains(28));
  EXPECT_EQ(options.at(121), (Bytes{32, 192, 0, 2, 1, 0, 0, 0, 0, 0, 192, 0, 2, 1}));
}

TEST_F(AnswersTest, F112_ServerHasANameWithoutGateway) {
  plan_.ipv4->gateway.reset();
  plan_.ipv4->default_route = false;
  const auto options = dhcp({}).options;
  EXPECT_EQ(options.at(54), (Bytes{169, 254, 0, 1}));
  EXPECT_FALSE(options.contains(3));
  EXPECT_EQ(dhcp({.type = 3, .requested = "192.0.2.10", .server = "169.254.0.1"}).type, 5);
  EXPECT_EQ(ask(make_arp_request(kAskingGuest, "192.0.2.10", "169.254.0.1")), Verdict::kReply);
}

TEST_F(AnswersTest, BootFileNextServerAndOptionsByNumber) {
  plan_.ipv4->next_server = ip("198.51.100.7");
  plan_.ipv4->filename = "boot/x.efi";
  plan_.ipv4->options = {{42, {198, 51, 100, 1}}, {43, Bytes(255, 9)}};
  const DhcpReply reply = dhcp({.more = kRoomForAll});
  EXPECT_EQ(reply.next_server, "198.51.100.7");
  EXPECT_EQ(reply.filename, "boot/x.efi");
  EXPECT_EQ(reply.options.at(42), (Bytes{198, 51, 100, 1}));
  EXPECT_EQ(reply.options.at(43), Bytes(255, 9));
}

TEST_F(AnswersTest, WhatDoesNotFitIsRefusedByName) {
  const auto with = [this](const std::function<void(AnswerPlan&)>& change, std::string_view part) {
    plan_ = example_plan();
    change(plan_);
    expect_refused(part);
  };
  with([](AnswerPlan& plan) { plan.ipv4->hostname = std::string(64, 'a'); },
       "hostname\" is 64 characters long, the limit is 63");
  with([](AnswerPlan& plan) { plan.ipv4->hostname = "a b"; }, "hostname");
  with([](AnswerPlan& plan) { plan.ipv4->domain = "a..b"; }, "domain");
  with([](AnswerPlan& plan) { plan.search = {std::string(64, 'a')}; }, "search");
  with([](AnswerPlan& plan) { plan.ipv4->filename = std::string(128, 'a'); },
       "filename\" is 128 bytes long, the limit is 127");
  with(
      [](AnswerPlan& plan) {
        plan.ipv4->options = {{51, {1}}};
      },
      "options.51\" cannot be set: use key \"leaseSeconds\"");
  with([](AnswerPlan& plan) { plan.ipv4->options = {{42, {}}}; }, "options.42");
  with([](AnswerPlan& plan) { plan.mtu = 300; }, "the MTU is 300");
  with(
      [](AnswerPlan& plan) {
        plan.ipv4->routes.assign(100, {value_of(IpPrefix::parse("203.0.113.128/25")), ip("192.0.2.1")});
      },
      "the DHCP reply takes");
  with([](AnswerPlan& plan) { plan.ipv6->dns.assign(70, ip("2001:db8::53")); }, "the DHCPv6 reply takes");
  with(
      [](AnswerPlan& plan) {
        plan.answered_addresses.assign(1, ip("192.0.2.1"));
        plan.answered_addresses.insert(plan.answered_addresses.end(),
                                       {ip("192.0.2.2"), ip("192.0.2.3"), ip("192.0.2.4"), ip("192.0.2.5")});
      },
      "more than 4 addresses");
}

TEST_F(AnswersTest, ManyRoutesGoOnInASecondOption) {
  plan_.ipv4->routes.assign(40, {value_of(IpPrefix::parse("203.0.113.128/25")), ip("192.0.2.1")});
  EXPECT_EQ(dhcp({.more = kRoomForAll}).options.at(121).size(), 40U * 9 + 5);
}

TEST_F(AnswersTest, ReplyIsNoLongerThanTheClientTakes) {
  plan_ = talkative_plan();
  constexpr std::size_t kEthernet = 14;
  const Bytes longest_id(255, 0x5a);
  for (const DhcpQuestion& question :
       {DhcpQuestion{}, DhcpQuestion{.more = {57, 2, 0x02, 0x58}}, DhcpQuestion{.more = {57, 2, 0, 9}},
        DhcpQuestion{.client_id = longest_id}, DhcpQuestion{.type = 8, .client = "192.0.2.10"}}) {
    const DhcpReply reply = dhcp(question);
    EXPECT_LE(frame_.size(), kEthernet + 576);
    EXPECT_TRUE(reply.ended);
    for (const int needed : {1, 3, 54}) EXPECT_TRUE(reply.options.contains(needed)) << needed;
    EXPECT_FALSE(reply.options.contains(239));
    EXPECT_EQ(reply.options.contains(61), !question.client_id.empty());
  }
  EXPECT_EQ(dhcp({}).options.at(121).size(), 30U * 9 + 5) << "an option is there whole or not at all";
  const DhcpReply all = dhcp({.client_id = longest_id, .more = kRoomForAll});
  EXPECT_TRUE(all.options.contains(239));
  EXPECT_EQ(all.options.at(61), longest_id);
}

TEST_F(AnswersTest, SolicitBringsAnAdvertiseWithTheAddress) {
  const Reply frame = reply_to(make_dhcp6(kAskingGuest, {}));
  EXPECT_EQ(frame.destination, ip("fe80::ff:fe00:a"));
  EXPECT_EQ(frame.source, ip("fe80::ff:fe00:1"));
  EXPECT_EQ(frame.destination_port, 546);
  const Dhcp6Reply reply = read_dhcp6(frame.payload);
  EXPECT_EQ(reply.type, 2);
  EXPECT_EQ(reply.xid, 0xaabbccU);
  const Bytes forever{255, 255, 255, 255};
  const std::map<int, Bytes> expected{
      {1, Dhcp6Question{}.client_duid},
      {2, server_duid()},
      {3, joined_bytes({{0x11, 0x22, 0x33, 0x44},
                        forever,
                        forever,
                        option6(5, joined_bytes({bytes_of(ip("2001:db8::10")), forever, forever}))})},
      {7, {255}},
      {23, bytes_of(ip("2001:db8::53"))},
      {24, joined_bytes({dns_text("\4blue\7example"), dns_text("\7example")})},
  };
  EXPECT_EQ(reply.options, expected);
}

TEST_F(AnswersTest, RapidCommitSavesTheSecondExchange) {
  const Dhcp6Reply reply = dhcp6({.rapid_commit = true});
  EXPECT_EQ(reply.type, 7);
  EXPECT_TRUE(reply.options.contains(14));
  EXPECT_TRUE(reply.options.contains(3));
}

TEST_F(AnswersTest, RequestRenewAndRebindKeepTheAddress) {
  for (const Dhcp6Question& question :
       {Dhcp6Question{.type = 3, .server_duid = server_duid()},
        Dhcp6Question{.type = 5, .server_duid = server_duid(), .address = "2001:db8::10"},
        Dhcp6Question{.type = 6, .address = "2001:db8::10"}}) {
    const Dhcp6Reply reply = dhcp6(question);
    EXPECT_EQ(reply.type, 7);
    EXPECT_EQ(Bytes(reply.options.at(3).begin(), reply.options.at(3).begin() + 4),
              (Bytes{0x11, 0x22, 0x33, 0x44}));
    EXPECT_FALSE(reply.options.contains(14));
  }
}

TEST_F(AnswersTest, OfWhatElseIsAskedForThereIsNone) {
  const Bytes iaid{9, 8, 7, 6};
  const Bytes wanted_prefix = option6(25, joined_bytes({iaid, Bytes(8)}));
  const auto none = [&](const Bytes& times, std::uint8_t status) {
    return joined_bytes({iaid, times, option6(13, {0, status})});
  };
  Dhcp6Reply reply = dhcp6({.iaid = std::nullopt, .more = wanted_prefix});
  EXPECT_EQ(reply.type, 2);
  EXPECT_FALSE(reply.options.contains(3));
  EXPECT_EQ(reply.options.at(25), none(Bytes(8), 6)) << "NoPrefixAvail";
  EXPECT_EQ(reply.options.at(23), bytes_of(ip("2001:db8::53")));
  reply = dhcp6({.iaid = std::nullopt, .rapid_commit = true, .more = wanted_prefix});
  EXPECT_EQ(reply.type, 2) << "nothing is committed";
  EXPECT_FALSE(reply.options.contains(14));
  reply = dhcp6({.rapid_commit = true, .more = wanted_prefix});
  EXPECT_EQ(reply.type, 7);
  EXPECT_TRUE(reply.options.contains(3) && reply.options.contains(14));
  EXPECT_EQ(reply.options.at(25), none(Bytes(8), 6));
  reply = dhcp6({.type = 5, .server_duid = server_duid(), .more = wanted_prefix});
  EXPECT_EQ(reply.options.at(25), none(Bytes(8), 3)) << "NoBinding";
  reply = dhcp6({.more = joined_bytes({option6(4, iaid), wanted_prefix})});
  EXPECT_EQ(reply.options.at(4), none({}, 2)) << "NoAddrsAvail";
  EXPECT_EQ(reply.options.at(25), none(Bytes(8), 6));
  EXPECT_EQ(reply.options.at(7), Bytes{255});
}

TEST_F(AnswersTest, EachIpv6AddressIsInTheLease) {
  plan_.ipv6->further_addresses = {value_of(IpPrefix::parse("2001:db8::11/64")),
                                   value_of(IpPrefix::parse("2001:db8:1::10/64"))};
  const Bytes forever{255, 255, 255, 255};
  const auto given = [&](const char* address) {
    return option6(5, joined_bytes({bytes_of(ip(address)), forever, forever}));
  };
  const Bytes lease = dhcp6({}).options.at(3);
  EXPECT_EQ(Bytes(lease.begin() + 12, lease.end()),
            joined_bytes({given("2001:db8::10"), given("2001:db8::11"), given("2001:db8:1::10")}));
  EXPECT_EQ(dhcp6({.type = 4, .address = "2001:db8:1::10"}).options.at(13), (Bytes{0, 0}));
  EXPECT_EQ(dhcp6({.type = 4, .address = "2001:db8:1::11"}).options.at(13), (Bytes{0, 4}));
  const Bytes advertised = reply_to(make_router_solicitation(kAskingGuest, "fe80::ff:fe00:a")).payload;
  EXPECT_EQ(read_nd_options(advertised, 16).count(3), 2U) << "each prefix once";
  plan_.ipv6->further_addresses.resize(4, plan_.ipv6->address);
  expect_refused("5 IPv6 addresses");
}

TEST_F(AnswersTest, ConfirmReleaseAndDeclineGetAStatus) {
  EXPECT_EQ(dhcp6({.type = 4, .address = "2001:db8::10"}).options.at(13), (Bytes{0, 0}));
  EXPECT_EQ(dhcp6({.type = 4, .address = "2001:db8:1::10"}).options.at(13), (Bytes{0, 4}));
  EXPECT_EQ(dhcp6({.type = 8, .server_duid = server_duid(), .address = "2001:db8::10"}).options.at(13),
            (Bytes{0, 0}));
  EXPECT_EQ(dhcp6({.type = 9, .server_duid = server_duid(), .address = "2001:db8::10"}).options.at(13),
            (Bytes{0, 0}));
}

TEST_F(AnswersTest, InformationRequestIsAnsweredWithoutAddress) {
  const Dhcp6Reply reply = dhcp6({.type = 11, .client_duid = {}, .iaid = std::nullopt});
  EXPECT_EQ(reply.type, 7);
  EXPECT_FALSE(reply.options.contains(3));
  EXPECT_FALSE(reply.options.contains(1));
  EXPECT_EQ(reply.options.at(23), bytes_of(ip("2001:db8::53")));
}

TEST_F(AnswersTest, WhatDhcp6ForbidsIsDroppedAndAnotherServersLeftAlone) {
  EXPECT_EQ(ask(make_dhcp6(kAskingGuest, {.client_duid = {}})), Verdict::kDrop);
  EXPECT_EQ(ask(make_dhcp6(kAskingGuest, {.server_duid = server_duid()})), Verdict::kDrop);
  EXPECT_EQ(ask(make_dhcp6(kAskingGuest, {.type = 3})), Verdict::kDrop);
  EXPECT_EQ(ask(make_dhcp6(kAskingGuest, {.client_duid = Bytes(131, 1)})), Verdict::kDrop);
  expect_untouched(make_dhcp6(kAskingGuest, {.type = 3, .server_duid = Bytes(10, 1)}));
  expect_untouched(make_dhcp6(kAskingGuest, {.type = 12}));
  expect_untouched(make_dhcp6(kAskingGuest, {.destination = "2001:db8::1"}));
}

TEST_F(AnswersTest, RouterAdvertisementTellsRouterPrefixMtuAndDns) {
  const Reply frame = reply_to(make_router_solicitation(kAskingGuest, "fe80::ff:fe00:a"));
  EXPECT_EQ(frame.destination, ip("fe80::ff:fe00:a"));
  EXPECT_EQ(frame.destination_mac, kAskingGuest);
  EXPECT_EQ(frame.source, ip("fe80::ff:fe00:1"));
  EXPECT_EQ(frame.hops, 255);
  const Bytes& message = frame.payload;
  EXPECT_EQ(message.at(0), 134);
  EXPECT_EQ(message.at(5), 0xc0);
  EXPECT_EQ(Bytes(message.begin() + 6, message.begin() + 8), (Bytes{255, 255}));
  const Bytes forever{255, 255, 255, 255};
  const std::multimap<int, Bytes> expected{
      {1, {2, 0, 0, 0, 0, 1}},
      {3, joined_bytes({{64, 0x80}, forever, forever, Bytes(4, 0), bytes_of(ip("2001:db8::"))})},
      {5, {0, 0, 0, 0, 1400 >> 8, 1400 & 0xff}},
      {24, joined_bytes({{0, 0}, forever})},
      {25, joined_bytes({{0, 0}, forever, bytes_of(ip("2001:db8::53"))})},
      {31, joined_bytes({{0, 0}, forever, dns_text("\4blue\7example"), dns_text("\7example"), Bytes(1, 0)})},
  };
  EXPECT_EQ(read_nd_options(message, 16), expected);
}

TEST_F(AnswersTest, RouterSolicitedByNobodyYetAnswersAllNodes) {
  const Reply frame = reply_to(make_router_solicitation(kAskingGuest, "::"));
  EXPECT_EQ(frame.destination, ip("ff02::1"));
  EXPECT_EQ(frame.destination_mac, (MacAddress{{0x33, 0x33, 0, 0, 0, 1}}));
}

TEST_F(AnswersTest, RoutesOfIpv6AreInTheAdvertisement) {
  plan_.ipv6->default_route = false;
  plan_.ipv6->routes = {value_of(IpPrefix::parse("2001:db8:1::/48")),
                        value_of(IpPrefix::parse("2001:db8:2::1/128"))};
  plan_.ipv6->dhcp = false;
  const Bytes message = reply_to(make_router_solicitation(kAskingGuest, "::")).payload;
  EXPECT_EQ(message.at(5), 0);
  EXPECT_EQ(Bytes(message.begin() + 6, message.begin() + 8), (Bytes{0, 0}));
  const auto options = read_nd_options(message, 16);
  ASSERT_EQ(options.count(24), 2U);
  EXPECT_EQ(options.find(24)->second,
            joined_bytes({{48, 0, 255, 255, 255, 255}, {0x20, 1, 0x0d, 0xb8, 0, 1, 0, 0}}));
  expect_untouched(make_dhcp6(kAskingGuest, {}));
}

TEST_F(AnswersTest, NeighbourSolicitationsForTheGatewayAreAnswered) {
  const Reply frame = reply_to(make_neighbour_solicitation(kAskingGuest, "2001:db8::10", "2001:db8::1"));
  EXPECT_EQ(frame.source, ip("2001:db8::1"));
  EXPECT_EQ(frame.destination, ip("2001:db8::10"));
  EXPECT_EQ(frame.payload, joined_bytes({{136, 0, frame.payload[2], frame.payload[3], 0xe0, 0, 0, 0},
                                         bytes_of(ip("2001:db8::1")),
                                         {2, 1, 2, 0, 0, 0, 0, 1}}));
  const Reply defended = reply_to(make_neighbour_solicitation(kAskingGuest, "::", "2001:db8::1"));
  EXPECT_EQ(defended.destination, ip("ff02::1"));
  EXPECT_EQ(defended.payload.at(4), 0xa0);
  reply_to(make_neighbour_solicitation(kAskingGuest, "2001:db8::10", "fe80::ff:fe00:1"));
  expect_untouched(make_neighbour_solicitation(kAskingGuest, "2001:db8::10", "2001:db8::2"));
}

TEST_F(AnswersTest, ArpForTheGatewayIsAnswered) {
  const Bytes arp = reply_to(make_arp_request(kAskingGuest, "192.0.2.10", "192.0.2.1")).payload;
  EXPECT_EQ(arp, (Bytes{0,   1, 8, 0, 6, 4, 0, 2, 2, 0,    0,   0, 0, 1,
                        192, 0, 2, 1, 2, 0, 0, 0, 0, 0x0a, 192, 0, 2, 10}));
  reply_to(make_arp_request(kAskingGuest, "0.0.0.0", "192.0.2.1"));
  expect_untouched(make_arp_request(kAskingGuest, "192.0.2.1", "192.0.2.1"));
  expect_untouched(make_arp_request(kAskingGuest, "192.0.2.10", "192.0.2.2"));
}

TEST_F(AnswersTest, EveryAnswerIsCounted) {
  build();
  for (const auto& [name, question] : example_questions(*answers_)) ask(question);
  for (int kind = 0; kind <= VMLANE_COUNT_MALFORMED; kind++) {
    if (kind == VMLANE_COUNT_RA_REFRESH) continue;
    EXPECT_GT(answers_->counters[kind], 0U) << kind;
  }
  EXPECT_EQ(answers_->counters[VMLANE_COUNT_FAILED], 0U);
}

TEST_F(AnswersTest, AdvertisesOnATimerForOthers) {
  build();
  Frame buffer(answers::kAnswerCapacity);
  const answers::Answer answer = answers::advertise_router(buffer, *answers_);
  ASSERT_EQ(answer.verdict, Verdict::kReply);
  buffer.resize(answer.length);
  EXPECT_EQ(read_reply(buffer).destination, ip("ff02::1"));
  EXPECT_TRUE(read_reply(buffer).sums_right);
}

TEST_F(AnswersTest, BufferTooShortForTheReplyIsADrop) {
  build();
  Frame frame = make_dhcp(kAskingGuest, {});
  EXPECT_EQ(answers::answer(frame, frame.size(), *answers_).verdict, Verdict::kDrop);
  EXPECT_EQ(answers_->counters[VMLANE_COUNT_FAILED], 1U);
}

// Buffers are exactly as long as allowed, so that a sanitizer sees a byte read or written beyond. What is
// called a reply must be a frame that a guest can read.
TEST_F(AnswersTest, MutatedQuestionsNeverLeadAstray) {
  build();
  const auto questions = example_questions(*answers_);
  std::mt19937 random(42);
  const auto below = [&random](std::size_t limit) { return random() % limit; };
  for (int round = 0; round < 60000; round++) {
    Frame frame = questions[below(questions.size())].second;
    for (std::size_t i = below(5); i > 0; i--)
      frame[12 + below(frame.size() - 12)] = static_cast<std::uint8_t>(random());
    if (below(3) == 0) frame.resize(below(frame.size() + 1));
    const std::size_t length = frame.size();
    Frame buffer(length + (below(4) == 0 ? below(300) : answers::kAnswerCapacity));
    buffer.shrink_to_fit();
    std::ranges::copy(frame, buffer.begin());
    const answers::Answer answer = answers::answer(buffer, length, *answers_);
    ASSERT_LE(answer.length, buffer.size());
    buffer.resize(answer.length);
    if (answer.verdict == Verdict::kReply) {
      const Reply reply = read_reply(buffer);
      ASSERT_TRUE(reply.sums_right && reply.lengths_right) << "round " << round;
    } else if (answer.verdict == Verdict::kNotOurs) {
      ASSERT_EQ(buffer, frame) << "round " << round;
    }
  }
}

}  // namespace
}  // namespace vmlane::test
