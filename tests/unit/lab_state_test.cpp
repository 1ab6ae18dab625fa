// SPDX-License-Identifier: Apache-2.0
#include <filesystem>

#include "lab/state.h"
#include "tests/support/host.h"

namespace vmlane::lab {
namespace {

LabState sample() {
  LabState state{.boot_id = "b", .bin_dir = "/bin", .cni_path = "/bin:/usr/lib/cni"};
  state.workloads.push_back({.kind = WorkloadKind::kVm,
                             .ns = "blue",
                             .name = "vm-a",
                             .pod_name = "virt-launcher-vm-a-bcdfg",
                             .pod_uid = "u",
                             .container_id = "c",
                             .attached = true,
                             .ready = true,
                             .processes = {{12, 34}}});
  state.workloads.push_back({.ns = "blue", .name = "web", .pod_name = "web"});
  state.workloads.push_back({.ns = "red", .name = "web", .pod_name = "web"});
  return state;
}

class LabStateTest : public ::testing::Test {
 protected:
  test::TemporaryDirectory directory_;
  LabPaths paths_{directory_.path() / "lab"};
};

TEST_F(LabStateTest, ComesBackAsItWasWritten) {
  std::filesystem::create_directory(paths_.root);
  ASSERT_TRUE(write_state(paths_, sample()));
  const auto state = read_state(paths_);
  ASSERT_TRUE(state && *state);
  EXPECT_EQ((*state)->to_json(), sample().to_json());
  EXPECT_EQ((*state)->workloads[0].processes[0], (ProcessRef{12, 34}));
}

TEST_F(LabStateTest, NoFileIsNoLabAndABrokenOneIsNamed) {
  const auto none = read_state(paths_);
  ASSERT_TRUE(none);
  EXPECT_FALSE(*none);
  std::filesystem::create_directory(paths_.root);
  for (const char* text : {"{", "{\"schema\": 2}", "{\"schema\": 1}", "[]"}) {
    test::spit(paths_.state_file(), text);
    const auto state = read_state(paths_);
    ASSERT_FALSE(state) << text;
    EXPECT_NE(state.error().text().find(paths_.state_file().string()), std::string::npos)
        << state.error().text();
  }
}

TEST_F(LabStateTest, WorkloadsAreFoundByFullOrUniqueName) {
  const LabState state = sample();
  EXPECT_EQ((*find_workload(state, "vm-a"))->id(), "blue/vm-a");
  EXPECT_EQ((*find_workload(state, "red/web"))->ns, "red");
  const auto ambiguous = find_workload(state, "web");
  ASSERT_FALSE(ambiguous);
  EXPECT_NE(ambiguous.error().text().find("blue/web or red/web"), std::string::npos)
      << ambiguous.error().text();
  const auto none = find_workload(state, "db");
  ASSERT_FALSE(none);
  EXPECT_NE(none.error().text().find("blue/vm-a, blue/web, red/web"), std::string::npos)
      << none.error().text();
}

TEST_F(LabStateTest, OneProcessAtATimeWorksOnALab) {
  EXPECT_FALSE(LabLock::acquire(paths_, false));
  EXPECT_FALSE(std::filesystem::exists(paths_.root));
  {
    const auto lock = LabLock::acquire(paths_, true);
    ASSERT_TRUE(lock) << lock.error().text();
    const auto second = LabLock::acquire(paths_, true);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Code::kTryAgain);
  }
  EXPECT_TRUE(LabLock::acquire(paths_, false));
}

}  // namespace
}  // namespace vmlane::lab
