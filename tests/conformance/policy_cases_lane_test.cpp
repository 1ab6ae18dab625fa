// SPDX-License-Identifier: Apache-2.0
// Cases of tests/conformance/policy as real traffic: the workload is the pod x/a of the cases, and whoever is
// on its network sends and gets as any other pod.
#include "tests/conformance/policy_lane.h"
#include "tests/support/long_run.h"
#include "tests/support/policy_cases.h"

namespace vmlane::test {
namespace {

class PolicyCasesLane : public PolicyOnALane {
 protected:
  // With the addresses that x/a has in the cases.
  void attach_as_in_the_cases() {
    const auto range = [](const std::string& subnet, const std::string& first, const std::string& gateway) {
      return Json::array({{{"subnet", subnet}, {"rangeStart", first}, {"gateway", gateway}}});
    };
    Json ipam = host_local();
    ipam["ranges"] = Json::array({range("192.0.2.0/24", "192.0.2.1", "192.0.2.254"),
                                  range("2001:db8::/64", "2001:db8::1", "2001:db8::fe")});
    attach({{"policyDefault", "deny"}, {"spoofCheck", false}, {"guestAnswers", false}, {"ipam", ipam}});
  }

  // The first packet of the connection at the workload; nothing where it is no end of it, where the other end
  // has no address, and where that is a node: those are told by how they come.
  std::optional<PacketSpec> packet(const policy::Objects& objects, const policy::Probe& probe) {
    port_ = static_cast<std::uint16_t>(port_ == 60'000 ? 20'000 : port_ + 1);
    return case_packet(objects, probe, port_);
  }

  std::uint16_t port_ = 20'000;
};

TEST_P(PolicyCasesLane, TrafficIsWhatTheCasesExpect) {
  attach_as_in_the_cases();
  const int stride = rounds(12, 1);  // every twelfth case in the short form
  int number = 0;
  int sent = 0;
  for (const std::string& file : policy_case_files()) {
    for (const PolicyCase& one : policy_cases(file)) {
      if (number++ % stride != 0) continue;
      for (const PolicyStep& step : one.steps) {
        const policy::Objects objects = policy_objects(step);
        publish_objects(objects, kCasePod);
        const policy::Store store = policy::compile(objects);
        for (const PolicyExpectation& expected : step.expectations) {
          const auto spec = packet(objects, expected.probe);
          if (!spec) continue;
          // The other end's policies are not this link's.
          const bool inward = expected.probe.to.pod == kCasePod;
          const auto verdict = store.ask(expected.probe);
          ASSERT_TRUE(verdict);
          const bool here = inward ? verdict->ingress.allowed : verdict->egress.allowed;
          EXPECT_EQ(passes(*spec, inward), here) << file << ": " << one.name << ": " << expected.text;
          EXPECT_TRUE(here || !expected.allowed) << expected.text;
          sent++;
        }
      }
    }
  }
  EXPECT_GT(sent, 200);
}

VMLANE_FOR_EACH_LANE(PolicyCasesLane);

}  // namespace
}  // namespace vmlane::test
