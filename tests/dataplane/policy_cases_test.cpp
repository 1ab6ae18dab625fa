// SPDX-License-Identifier: Apache-2.0
// Cases of tests/conformance/policy as frames of guests through the switch, as policy_cases_lane_test.cpp has
// them for the kernel's lanes: the guest is the pod x/a of the cases, and another that policy is not about
// sends and gets as any other pod.
#include "tests/support/policy_cases.h"

#include <algorithm>
#include <filesystem>

#include "policy/store.h"
#include "policy/tables_file.h"
#include "tests/dataplane/switch_test.h"
#include "tests/support/long_run.h"
#include "tests/support/policy_frames.h"

namespace vmlane::test {
namespace {

class SwitchPolicyCases : public SwitchTest {
 protected:
  void attach_as_in_the_cases() {
    start_switch();
    const auto range = [](const std::string& subnet, const std::string& first, const std::string& gateway) {
      return Json::array({{{"subnet", subnet}, {"rangeStart", first}, {"gateway", gateway}}});
    };
    Json ipam = host_local();
    ipam.erase("subnet");
    ipam["ranges"] = Json::array({range("192.0.2.0/24", "192.0.2.1", "192.0.2.254"),
                                  range("2001:db8::/64", "2001:db8::1", "2001:db8::fe")});
    const Json open = {{"spoofCheck", false}, {"guestAnswers", false}};
    guest_ = connect_nic("guest", inside(overlaid(open, {{"policyDefault", "deny"}, {"ipam", ipam}})));
    Json far = inside(overlaid(open, {{"policyDefault", "allow"}}));
    far.erase("ipam");
    far_ = connect_nic("far", far);
    ASSERT_EQ(guest_.address->to_string(), "192.0.2.1");
  }

  void publish(const policy::Objects& objects) {
    ASSERT_TRUE(objects.problems.empty()) << objects.problems.front().text();
    policy::Store store;
    store.put(objects);
    const auto block = store.publish().block;
    policy::AttachedEndpoint entry{.endpoint = store.endpoint(kCasePod, "default").value(),
                                   .network = store.network("default").value()};
    id_of(guest_).copy(entry.id.data(), entry.id.size());
    std::filesystem::create_directories(node().policy_dir());
    ASSERT_TRUE(write_file_atomically(
        node().policy_dir() / policy::tables_file_name(),
        policy::tables_file_content({.generation = ++generation_,
                                     .block = block,
                                     .attachments = {entry},
                                     .names = policy::policy_names_text(store.policies())})));
    ASSERT_TRUE(eventually(
        [&] { return ask("stats").value("policy_generation", std::uint64_t{0}) == generation_; }, kPatience))
        << slurp(log_file());
  }

  std::optional<PacketSpec> packet(const policy::Objects& objects, const policy::Probe& probe) {
    port_ = static_cast<std::uint16_t>(port_ == 60'000 ? 20'000 : port_ + 1);
    return case_packet(objects, probe, port_);
  }

  bool passes_as(const PacketSpec& spec, bool inward) {
    Nic& from = inward ? far_ : guest_;
    Nic& to = inward ? guest_ : far_;
    Frame frame = make_packet(spec);
    std::ranges::copy(to.mac.bytes, frame.begin());
    std::ranges::copy(from.mac.bytes, frame.begin() + 6);
    // What policy lets through always: by it one knows that what was sent before has come, or never will.
    Frame after = make_arp_announcement(from.mac, *IpAddress::parse("192.0.2.200"));
    std::copy_n(reinterpret_cast<const std::uint8_t*>(&marks_), sizeof marks_, after.end() - sizeof marks_);
    marks_++;
    EXPECT_TRUE(from.guest->send(frame) && from.guest->send(after)) << "no room in the ring";
    bool found = false;
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (std::chrono::steady_clock::now() < deadline) {
      const auto got = to.guest->receive_within(std::chrono::milliseconds(100));
      if (!got) continue;
      found = found || got->bytes == frame;
      if (got->bytes == after) return found;
    }
    ADD_FAILURE() << "the mark is lost";
    return false;
  }

  Nic guest_;
  Nic far_;
  std::uint64_t generation_ = 0;
  std::uint32_t marks_ = 0;
  std::uint16_t port_ = 20'000;
};

TEST_F(SwitchPolicyCases, TrafficIsWhatTheCasesExpect) {
  ASSERT_NO_FATAL_FAILURE(attach_as_in_the_cases());
  const int stride = rounds(12, 1);  // every twelfth case in the short form
  int number = 0;
  int allowed = 0;
  int denied = 0;
  for (const std::string& file : policy_case_files()) {
    for (const PolicyCase& one : policy_cases(file)) {
      if (number++ % stride != 0) continue;
      for (const PolicyStep& step : one.steps) {
        const policy::Objects objects = policy_objects(step);
        ASSERT_NO_FATAL_FAILURE(publish(objects));
        const policy::Store store = policy::compile(objects);
        for (const PolicyExpectation& expected : step.expectations) {
          const auto spec = packet(objects, expected.probe);
          if (!spec) continue;
          // The other end's policies are not this port's.
          const bool inward = expected.probe.to.pod == kCasePod;
          const auto verdict = store.ask(expected.probe);
          ASSERT_TRUE(verdict);
          const bool here = inward ? verdict->ingress.allowed : verdict->egress.allowed;
          ASSERT_EQ(passes_as(*spec, inward), here) << file << ": " << one.name << ": " << expected.text;
          EXPECT_TRUE(here || !expected.allowed) << expected.text;
          (here ? allowed : denied)++;
        }
      }
    }
  }
  EXPECT_GT(allowed, 80);
  EXPECT_GT(denied, 80);
}

}  // namespace
}  // namespace vmlane::test
