// SPDX-License-Identifier: Apache-2.0
// The kernel programs on the kernels that nodes have: they load, and do what they are for. The machine that
// runs the tests has the newest of them; the others are in guests.
#include <algorithm>
#include <map>
#include <sstream>

#include "tests/vm/node_guest.h"

namespace vmlane::test {
namespace {

class KernelGuest : public NodeGuest, public ::testing::WithParamInterface<const char*> {
 protected:
  static void SetUpTestSuite() {
    for (const char* kernel : {"6.1", "6.12"}) node_guest_image(kernel);
  }
  std::string kernel() const override { return GetParam(); }
  GuestOutcome attach(const std::string& pod, const Json& conf, const std::string& plugin) {
    make_guest_pod(pod);
    GuestOutcome added = add(pod, conf, plugin);
    EXPECT_GUEST_OK(added);
    if (added.ok()) {
      EXPECT_GUEST_OK(check(pod, conf, added.document, plugin));
    }
    return added;
  }
  // By the name of each program of ours.
  std::map<std::string, int> verified_instructions() {
    std::istringstream lines(in_guest(std::string(kPluginDirectory) + "/" + kVerifiedInstructions));
    std::map<std::string, int> found;
    std::string name;
    for (int count = 0; lines >> name >> count;) found[name] = std::max(found[name], count);
    return found;
  }
};

TEST_P(KernelGuest, ProgramsLoadAndGuardAndAnswer) {
  EXPECT_EQ(in_guest("uname -r").find(kernel() + "."), 0U);
  const Json guarded = config({{"spoofCheck", true}, {"policyDefault", "allow"}});
  attach("a", guarded, "vmlane-veth");
  const auto other = attach("b", guarded, "vmlane-veth");
  attach("vm", config({{"isGateway", true}}), "vmlane-tap");
  in_guest("ip link add wire0 type veth peer name wire1 && ip link set wire0 up && ip link set wire1 up");
  attach("macvtap",
         config({{"bridge", nullptr}, {"lowerDevice", "wire0"}, {"name", "wire"}, {"policyDefault", "deny"}}),
         "vmlane-macvtap");
  ASSERT_FALSE(HasFailure());

  const std::string address = other.document.at("ips").at(0).at("address");
  const std::string bare = address.substr(0, address.find('/'));
  EXPECT_TRUE(reaches("a", bare));
  // Under another MAC nothing gets past the pod's own link.
  in_guest("ip -n a link set eth0 address 02:00:00:00:00:66");
  EXPECT_TRUE(is_cut_off("a", bare));

  // A macvtap that nobody has opened gives its frames to the pod.
  const GuestResult asked =
      guest("ip netns exec macvtap udhcpc -i eth0 -f -n -q -t 10 -T 1 -s /bin/true", 120);
  EXPECT_EQ(asked.status, 0) << asked.err;
  EXPECT_NE(asked.err.find("lease of 192.0.2."), std::string::npos) << asked.err;

  constexpr int kMostInstructions = 300'000;
  const auto programs = verified_instructions();
  EXPECT_EQ(programs.size(), 5U);  // the splice, and both of a workload's link and of its policy
  for (const auto& [name, count] : programs) {
    std::cout << "Linux " << kernel() << ": " << name << " " << count << " instructions verified\n";
    EXPECT_GT(count, 0) << name;
    EXPECT_LE(count, kMostInstructions) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Linux, KernelGuest, ::testing::Values("6.1", "6.12"),
                         [](const ::testing::TestParamInfo<const char*>& kernel) {
                           std::string name = kernel.param;
                           std::ranges::replace(name, '.', '_');
                           return name;
                         });

}  // namespace
}  // namespace vmlane::test
