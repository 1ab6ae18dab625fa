// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstring>

#include "answers/build.h"
#include "answers/record.h"
#include "dataplane/port_spec.h"
#include "dataplane/source_guard.h"
#include "ebpf/source_guard.h"
#include "tests/support/answer_examples.h"
#include "tests/support/frames.h"
#include "tests/support/offload.h"

namespace vmlane::dataplane {
namespace {

const MacAddress kMac{.bytes = {2, 0, 0, 0, 0, 1}};
const MacAddress kOther{.bytes = {2, 0, 0, 0, 0, 2}};

AttachmentRecord record_of(const Json& handles) {
  AttachmentRecord record;
  record.key = {"blue", "c1", "eth0"};
  record.plugin = "vmlane-vhostuser";
  record.state = RecordState::kDone;
  record.boot_id = "today";
  record.mac = kMac.to_string();
  record.mtu = 1500;
  record.handles = {{"switch_network", "bridge:br1"}, {"socket", "/run/vmlane/ports/x/port.sock"}};
  record.handles.update(handles);
  return record;
}

TEST(PortSpec, TakesFromARecordWhatTheSwitchNeeds) {
  const auto spec = port_spec(record_of({{"uplink_tap", "vmu1"}, {"isolated", true}}), "today");
  ASSERT_TRUE(spec);
  ASSERT_TRUE(*spec);
  EXPECT_EQ((*spec)->network, "bridge:br1");
  EXPECT_EQ((*spec)->mac, kMac);
  EXPECT_EQ((*spec)->mtu, 1500U);
  EXPECT_EQ((*spec)->uplink, "vmu1");
  EXPECT_TRUE((*spec)->isolated);
  EXPECT_FALSE((*spec)->access_vlan);
  EXPECT_FALSE((*spec)->guard);
}

TEST(PortSpec, TakesAddressesBandwidthAndTheNodesMac) {
  AttachmentRecord record =
      record_of({{"bandwidth",
                  {{"ingress_rate", 1000}, {"ingress_burst", 2000}, {"egress_rate", 0}, {"egress_burst", 0}}},
                 {"policy", {{"mode", "enforced"}, {"default", "allow"}, {"node_mac", kOther.to_string()}}}});
  record.result = {{"ips", {{{"address", "192.0.2.5/24"}}, {{"address", "2001:db8::5/64"}}}}};
  const auto spec = port_spec(record, "today");
  ASSERT_TRUE(spec) << spec.error().text();
  ASSERT_EQ((*spec)->addresses.size(), 2U);
  EXPECT_EQ((*spec)->addresses[0].to_string(), "192.0.2.5");
  EXPECT_EQ((*spec)->addresses[1].to_string(), "2001:db8::5");
  EXPECT_EQ((*spec)->ingress.rate, 1000U);
  EXPECT_EQ((*spec)->ingress.burst, 2000U);
  EXPECT_EQ((*spec)->egress.rate, 0U);
  EXPECT_EQ((*spec)->node_mac, kOther);
  for (const Json& ips : {Json("192.0.2.5/24"), Json{"192.0.2.5/24"}, Json{{{"address", "nowhere"}}}}) {
    record.result = {{"ips", ips}};
    EXPECT_FALSE(port_spec(record, "today")) << ips;
  }
  EXPECT_FALSE(port_spec(record_of({{"bandwidth", {{"egress_rate", "fast"}}}}), "today"));
}

TEST(PortSpec, PassesOverRecordsThatAreNotItsBusiness) {
  const auto is_passed_over = [](const AttachmentRecord& record) {
    const auto spec = port_spec(record, "today");
    return spec && !*spec;
  };
  AttachmentRecord record = record_of(Json::object());
  record.plugin = "vmlane-tap";
  EXPECT_TRUE(is_passed_over(record));
  record = record_of(Json::object());
  record.boot_id = "yesterday";
  EXPECT_TRUE(is_passed_over(record));
  for (const RecordState state : {RecordState::kIntent, RecordState::kDeleting}) {
    record = record_of(Json::object());
    record.state = state;
    EXPECT_TRUE(is_passed_over(record));
  }
}

TEST(PortSpec, NamesTheRecordThatLacksSomething) {
  for (const char* key : {"switch_network", "socket"}) {
    const auto spec = port_spec(record_of({{key, nullptr}}), "today");
    ASSERT_FALSE(spec);
    EXPECT_NE(spec.error().text().find(AttachmentKey{"blue", "c1", "eth0"}.id()), std::string::npos);
  }
  EXPECT_FALSE(port_spec(record_of({{"answers", {{"size", 1}}}}), "today"));
  EXPECT_FALSE(port_spec(record_of({{"source_guard", Json::object()}}), "today"));
}

TEST(AnswersInARecord, ComeBackAsTheyWere) {
  const auto built = answers::build_answers(test::example_plan());
  ASSERT_TRUE(built);
  const Json json = answers::answers_to_json(**built);
  const auto again = answers::answers_from_json(json);
  ASSERT_TRUE(again) << again.error().text();
  EXPECT_EQ(answers::answers_to_json(**again), json);
  EXPECT_EQ((*again)->flags, (*built)->flags);
  for (std::size_t i = 0; i < VMLANE_TEMPLATES; i++) {
    ASSERT_EQ((*again)->templates[i].length, (*built)->templates[i].length);
    EXPECT_EQ(std::memcmp((*again)->templates[i].frame, (*built)->templates[i].frame,
                          (*built)->templates[i].length),
              0);
  }
}

// The rules themselves are tested where the kernel runs them; here, that they are the same ones.
class NativeGuard : public ::testing::Test {
 protected:
  void SetUp() override {
    ebpf::SourceGuard rules{.macs = {kMac}};
    rules.addresses = {*IpPrefix::parse("192.0.2.1/32")};
    ebpf::write_source_guard(rules, guard_);
  }
  int judge(const test::Frame& frame) {
    return vmlane_native_guard(frame.data(), static_cast<std::uint32_t>(frame.size()), &guard_);
  }
  vmlane_guard guard_{};
};

TEST_F(NativeGuard, TellsForgedSendersByReason) {
  EXPECT_EQ(judge(test::make_tcp_frame(kOther, kMac, false, 10)), VMLANE_GUARD_PASS);
  EXPECT_EQ(judge(test::make_tcp_frame(kOther, kOther, false, 10)), VMLANE_GUARD_BAD_MAC);
  test::Frame forged = test::make_tcp_frame(kOther, kMac, false, 10);
  constexpr std::size_t kLastOfSource = 14 + 15;
  forged[kLastOfSource] = 9;
  EXPECT_EQ(judge(forged), VMLANE_GUARD_BAD_IPV4);
  EXPECT_EQ(judge(test::make_arp_announcement(kMac, *IpAddress::parse("192.0.2.9"))), VMLANE_GUARD_BAD_ARP);
  EXPECT_EQ(judge(test::make_arp_announcement(kMac, *IpAddress::parse("192.0.2.1"))), VMLANE_GUARD_PASS);
  const test::Packet tagged =
      test::with_vlan_tag(test::make_offloaded_tcp(kOther, kMac, false, 10, 0), 0x8100, 7);
  EXPECT_EQ(judge(tagged.frame), VMLANE_GUARD_VLAN);
}

TEST_F(NativeGuard, ReadsNothingBeyondACutFrame) {
  const test::Frame whole = test::make_tcp_frame(kOther, kMac, false, 10);
  for (std::size_t length = 0; length < 14 + 20; length++) {
    test::Frame cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
    cut.shrink_to_fit();
    EXPECT_NE(judge(cut), VMLANE_GUARD_PASS) << length;
  }
}

}  // namespace
}  // namespace vmlane::dataplane
