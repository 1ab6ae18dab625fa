// SPDX-License-Identifier: Apache-2.0
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "core/record.h"
#include "tests/support/host.h"

namespace vmlane {
namespace {

class NetworkIdTest : public ::testing::Test {
 protected:
  NetworkIdTest() {
    config_.state_dir = directory_.path() / "state";
    config_.run_dir = directory_.path() / "run";
    config_.vmlane_gid = ::getegid();
  }
  NodeConfig config_;

 private:
  test::TemporaryDirectory directory_;
};

TEST_F(NetworkIdTest, OneNumberASegmentForGood) {
  const auto first = network_id(config_, "bridge:br1");
  ASSERT_TRUE(first) << first.error().text();
  EXPECT_GE(*first, 1U);
  const auto second = network_id(config_, "bridge:br1:vlan:7");
  ASSERT_TRUE(second);
  EXPECT_NE(*first, *second);
  EXPECT_EQ(network_id(config_, "bridge:br1").value(), *first);
  EXPECT_EQ(network_id(config_, "bridge:br1:vlan:7").value(), *second);
}

TEST_F(NetworkIdTest, ProcessesAtOnceAgree) {
  constexpr int kProcesses = 8;
  constexpr int kSegments = 10;
  std::vector<pid_t> children;
  for (int child = 0; child < kProcesses; child++) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      std::string ids;
      for (int i = 0; i < kSegments; i++)
        ids += std::to_string(network_id(config_, "bridge:br" + std::to_string(i)).value_or(0)) + " ";
      test::spit(config_.state_dir / ("ids" + std::to_string(child)), ids);
      ::_exit(0);
    }
    children.push_back(pid);
  }
  for (const pid_t pid : children) ::waitpid(pid, nullptr, 0);
  std::set<std::uint32_t> ids;
  std::string expected;
  for (int i = 0; i < kSegments; i++) {
    const auto id = network_id(config_, "bridge:br" + std::to_string(i));
    ASSERT_TRUE(id);
    ids.insert(*id);
    expected += std::to_string(*id) + " ";
  }
  EXPECT_EQ(ids.size(), static_cast<std::size_t>(kSegments));
  for (int child = 0; child < kProcesses; child++)
    EXPECT_EQ(test::slurp(config_.state_dir / ("ids" + std::to_string(child))), expected);
}

TEST_F(NetworkIdTest, DamagedTableIsRefusedAndKept) {
  ASSERT_TRUE(network_id(config_, "bridge:br1"));
  for (const char* content :
       {"", "{", "[]", "7", "{}", R"({"schema":2,"next":1,"segments":{}})",
        R"({"schema":"1","next":1,"segments":{}})", R"({"schema":1,"segments":{}})",
        R"({"schema":1,"next":-1,"segments":{}})", R"({"schema":1,"next":1})",
        R"({"schema":1,"next":4294967296,"segments":{}})", R"({"schema":1,"next":0,"segments":{}})",
        R"({"schema":1,"next":2,"segments":[]})", R"({"schema":1,"next":2,"segments":{"a":"x"}})",
        R"({"schema":1,"next":2,"segments":{"a":2}})", R"({"schema":1,"next":3,"segments":{"a":1,"b":1}})",
        R"({"schema":1,"next":3,"segments":{"a":0}})"}) {
    test::spit(config_.networks_file(), content);
    const auto id = network_id(config_, "bridge:br2");
    ASSERT_FALSE(id) << content;
    EXPECT_NE(id.error().text().find(config_.networks_file().string()), std::string::npos)
        << id.error().text();
    EXPECT_EQ(test::slurp(config_.networks_file()), content) << "starting afresh would give a number twice";
  }
}

TEST_F(NetworkIdTest, NumbersRunOutWithAnError) {
  std::filesystem::create_directories(config_.state_dir);
  test::spit(config_.networks_file(), R"({"schema":1,"next":4294967295,"segments":{}})");
  ASSERT_TRUE(network_id(config_, "bridge:last"));
  EXPECT_FALSE(network_id(config_, "bridge:one-too-many"));
  EXPECT_EQ(network_id(config_, "bridge:last").value(), 4294967295U);
}

}  // namespace
}  // namespace vmlane
