// SPDX-License-Identifier: Apache-2.0
// The pins that keep the guard's and policy's programs loaded while a node has no attachment: they spare the
// next ADD the loading, and nothing depends on them.
#include <algorithm>
#include <filesystem>

#include "tests/conformance/sender_test.h"

namespace vmlane::test {
namespace {

constexpr MacAddress kForeign{{0x02, 0, 0, 0, 0, 0x66}};

class IdleNodeTest : public SenderTest {
 protected:
  void attach(Json keys = Json::object()) {
    keys["spoofCheck"] = true;
    SenderTest::attach(keys);
  }
  void expect_guarded() {
    EXPECT_TRUE(passes(make_test_frame(broadcast_mac(), mac_, "own")));
    EXPECT_FALSE(passes(make_test_frame(broadcast_mac(), kForeign, "another MAC")));
  }
  Json handles() const { return (**RecordStore(node()).read(id_of())).handles; }
  std::uint32_t program() const { return handles()["workload"]["from_program"].get<std::uint32_t>(); }
  void detach() {
    guest_.reset();
    wire_.reset();
    ASSERT_CNI_OK(del("/run/netns/a", conf_));
  }
  // Names in bpfDir.
  std::size_t pins() const {
    std::error_code error;
    return static_cast<std::size_t>(std::ranges::distance(
        std::filesystem::directory_iterator(node().bpf_dir, error), std::filesystem::directory_iterator()));
  }
};

TEST_P(IdleNodeTest, ProgramsStayLoadedForTheNextAdd) {
  attach();
  const std::uint32_t first = program();
  detach();
  attach();
  EXPECT_EQ(program(), first);
  expect_guarded();
}

TEST_P(IdleNodeTest, PolicyStaysLoadedToo) {
  attach({{"policyDefault", "allow"}});
  EXPECT_EQ(pins(), 4U);
  const Json first = handles()["policy"]["programs"]["from_program"];
  detach();
  attach({{"policyDefault", "allow"}});
  EXPECT_EQ(handles()["policy"]["programs"]["from_program"], first);
}

TEST_P(IdleNodeTest, PinsOfAnotherBuildAndOfAnAddCutShortAreReplaced) {
  attach();
  EXPECT_EQ(pins(), 2U);
  for (const auto& pin : std::filesystem::directory_iterator(node().bpf_dir)) {
    EXPECT_EQ(std::filesystem::status(pin).permissions() & std::filesystem::perms(077),
              std::filesystem::perms::none);
    std::filesystem::remove(pin);
    break;
  }
  std::filesystem::create_directory(node().bpf_dir / "workload_1");
  ASSERT_CNI_OK(add(make_pod("b"), conf_, "c2"));
  EXPECT_EQ(pins(), 2U);
  EXPECT_FALSE(std::filesystem::exists(node().bpf_dir / "workload_1"));
}

TEST_P(IdleNodeTest, NothingDependsOnPins) {
  attach();
  std::filesystem::remove_all(node().bpf_dir);
  expect_guarded();
  EXPECT_CNI_OK(check(*pods().at("a"), conf_, result_));
}

TEST_P(IdleNodeTest, WithoutBpffsNothingIsPinnedAndAddSucceeds) {
  configure_node({{"bpfDir", (directory() / "bpf").string()}});
  attach();
  detach();
  attach();
  expect_guarded();
  EXPECT_FALSE(std::filesystem::exists(node().bpf_dir));
}

VMLANE_FOR_BRIDGE_LANES(IdleNodeTest);

}  // namespace
}  // namespace vmlane::test
