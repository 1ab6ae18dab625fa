// SPDX-License-Identifier: Apache-2.0
// A tap made by a process under an SELinux context. This kernel need not have SELinux: a directory and a file
// stand in its place, and what is asked of it is looked at.
#include "cni/tap/labelled_tap.h"

#include <filesystem>

#include "tests/support/host.h"
#include "tests/support/paths.h"
#include "tests/support/result.h"

namespace vmlane::test {
namespace {

using cni::SelinuxMode;

constexpr const char* kContext = "system_u:system_r:svirt_t:s0:c1,c2";

class LabelledTapTest : public HostFixture {
 protected:
  void SetUp() override {
    HostFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    pod_.emplace(value_of(netlink::Namespace::open(make_pod("a").path())));
    selinux_.root = directory() / "selinux";
    std::filesystem::create_directory(selinux_.root);
    spit(selinux_.root / "enforce", "1");
    spit(directory() / "exec", "");
    selinux_.exec_attribute = directory() / "exec";
    selinux_.program = built("vmlane-tap");
  }
  Result<> make(const std::string& name = "tap0") const {
    return cni::create_labelled_tap(selinux_, *pod_, {name, 1007, 1008, true}, kContext);
  }
  std::vector<std::string> pod_links() const { return link_names(pods().at("a")->path()); }

  cni::Selinux selinux_;
  std::optional<netlink::Namespace> pod_;
};

TEST_F(LabelledTapTest, IsMadeInThePodByAProcessThatAskedForTheContext) {
  ASSERT_OK(make());
  EXPECT_EQ(slurp(selinux_.exec_attribute), kContext);
  const auto info = value_of(netlink::tap_info(*pod_, "tap0"));
  EXPECT_EQ(info.owner, 1007U);
  EXPECT_EQ(info.group, 1008U);
  EXPECT_TRUE(info.multi_queue && info.vnet_hdr && info.persistent);
  EXPECT_EQ(link_names(""), std::vector<std::string>{"lo"});
}

TEST_F(LabelledTapTest, RefusedContextIsAnErrorThatNamesKeyAndContext) {
  for (const auto& attribute : {directory() / "nowhere" / "exec", directory()}) {
    selinux_.exec_attribute = attribute;
    const auto made = make();
    EXPECT_REFUSED(made, Code::kKernel, kContext);
    EXPECT_NE(made.error().details.find("selinuxContext"), std::string::npos);
    EXPECT_EQ(pod_links(), std::vector<std::string>{"lo"});
  }
}

TEST_F(LabelledTapTest, WhatTheKernelSaysToTheHelperComesBack) {
  ASSERT_OK(make());
  EXPECT_REFUSED(make(), Code::kConflict, "tap0");
}

TEST_F(LabelledTapTest, ProgramThatCannotBeStartedIsNamed) {
  selinux_.program = directory() / "no-such-program";
  EXPECT_REFUSED(make(), Code::kIo, "no-such-program");
  selinux_.program = "/bin/false";  // as one that is stopped before it can say anything
  EXPECT_REFUSED(make(), Code::kKernel, "tap0");
  EXPECT_EQ(pod_links(), std::vector<std::string>{"lo"});
}

TEST_F(LabelledTapTest, ModeIsThatOfTheFileEnforce) {
  EXPECT_EQ(value_of(cni::selinux_mode(selinux_)), SelinuxMode::kEnforcing);
  spit(selinux_.root / "enforce", "0");
  EXPECT_EQ(value_of(cni::selinux_mode(selinux_)), SelinuxMode::kPermissive);
  selinux_.root = directory() / "none";
  EXPECT_EQ(value_of(cni::selinux_mode(selinux_)), SelinuxMode::kAbsent);
}

}  // namespace
}  // namespace vmlane::test
