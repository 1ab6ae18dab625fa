// SPDX-License-Identifier: Apache-2.0
// The label of a tap, under a kernel that enforces: a domain can have the tap that was made for it and no
// other. The policy is tests/vm/selinux/policy.conf; contracts 4.4.
#include <filesystem>

#include "tests/support/paths.h"
#include "tests/vm/node_guest.h"

namespace vmlane::test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kContainer = "system_u:system_r:container_t:s0";
constexpr const char* kOther = "system_u:system_r:other_t:s0:c1,c2";

class SelinuxGuest : public NodeGuest {
 protected:
  void SetUp() override {
    NodeGuest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    load_policy();
  }
  std::string more_kernel_arguments() const override { return "security=selinux selinux=1 enforcing=0"; }

  // The kernel takes a policy in one write.
  void load_policy() {
    const fs::path policy = directory() / "policy";
    const fs::path source = source_file("tests/vm/selinux/policy.conf");
    must({"checkpolicy", "-M", "-U", "allow", "-o", policy.string(), source.string()});
    const std::string text = run({"base64", policy.string()}).out;
    in_guest("mount -t selinuxfs selinuxfs /sys/fs/selinux");
    in_guest("base64 -d >/tmp/policy <<'END'\n" + text + "END\n");
    in_guest("dd if=/tmp/policy of=/sys/fs/selinux/load bs=1M");
    in_guest("echo 1 >/sys/fs/selinux/enforce");
    ASSERT_EQ(in_guest("cat /sys/fs/selinux/enforce"), "1");
  }
  // Opens an existing tap of pod `a` as a process of a context.
  GuestResult open_tap(const std::string& context) {
    return guest("ip netns exec a sh -c 'printf %s " + context +
                 " >/proc/self/attr/exec && exec /bin/busybox tunctl -t tap0'");
  }
};

TEST_F(SelinuxGuest, TapIsHadByTheDomainThatItWasLabelledForAndByNoOther) {
  EXPECT_NE(in_guest("cat /proc/self/attr/current").find("kernel_t"), std::string::npos);
  make_guest_pod("a");
  for (const auto& [key, owner, stranger] :
       {std::array{"", kContainer, kOther}, std::array{kOther, kOther, kContainer}}) {
    SCOPED_TRACE(owner);
    const Json conf = config({{"selinuxContext", key}});
    const GuestOutcome added = add("a", conf, "vmlane-tap");
    ASSERT_GUEST_OK(added);
    const GuestResult refused = open_tap(stranger);
    EXPECT_NE(refused.status, 0) << "a tap without a label, or with another's, would open";
    EXPECT_NE(refused.err.find("ermission denied"), std::string::npos) << refused.err;
    const GuestResult opened = open_tap(owner);
    EXPECT_EQ(opened.status, 0) << opened.err;
    EXPECT_GUEST_OK(check("a", conf, added.document, "vmlane-tap"));
    EXPECT_GUEST_OK(del("a", conf, "vmlane-tap"));
  }
  // A context that the policy does not have.
  const std::string before = node_snapshot();
  const GuestOutcome added =
      add("a", config({{"selinuxContext", "system_u:system_r:nobody_t:s0"}}), "vmlane-tap");
  EXPECT_FALSE(added.ok());
  EXPECT_NE(added.text().find("nobody_t"), std::string::npos) << added;
  EXPECT_NE(added.text().find("selinuxContext"), std::string::npos) << added;
  EXPECT_EQ(node_snapshot(), before);
}

}  // namespace
}  // namespace vmlane::test
