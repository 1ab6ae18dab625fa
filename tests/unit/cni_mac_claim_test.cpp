// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <filesystem>

#include "cni/mac_claim.h"
#include "tests/support/host.h"

namespace vmlane::cni {
namespace {

namespace fs = std::filesystem;

class MacClaimTest : public ::testing::Test {
 protected:
  MacClaimTest() {
    config_.state_dir = directory_.path() / "state";
    config_.run_dir = directory_.path() / "run";
    config_.vmlane_gid = ::getegid();
  }
  // A record of an attachment; its id.
  std::string attach(const std::string& container) {
    AttachmentRecord record;
    record.key = {"blue", container, "net1"};
    record.netconf = Json::object();
    EXPECT_TRUE(RecordStore(config_).write(record));
    return record.key.id();
  }
  MacClaims claims(std::uint32_t network = 1) const { return {config_, network}; }
  std::string owner(std::uint32_t network = 1) const {
    const auto found = claims(network).owner(mac_);
    EXPECT_TRUE(found);
    return found && *found ? (*found)->key.container_id : "";
  }
  bool take(const std::string& id, const std::string& from = "", std::uint32_t network = 1) const {
    const auto taken = claims(network).take(mac_, id, from);
    EXPECT_TRUE(taken);
    return taken.value_or(false);
  }

  test::TemporaryDirectory directory_;
  NodeConfig config_;
  const MacAddress mac_{{2, 0, 0, 0, 0, 0x42}};
};

TEST_F(MacClaimTest, HasOneOwnerASegment) {
  const std::string a = attach("a");
  const std::string b = attach("b");
  EXPECT_EQ(owner(), "");
  EXPECT_TRUE(take(a));
  EXPECT_TRUE(take(a)) << "twice by the same is fine";
  EXPECT_FALSE(take(b));
  EXPECT_EQ(owner(), "a");
  EXPECT_TRUE(take(b, "", 2));
  EXPECT_EQ(owner(2), "b");
}

TEST_F(MacClaimTest, IsGivenBackOnlyByItsOwnerAndLeavesNothing) {
  const std::string a = attach("a");
  const std::string b = attach("b");
  ASSERT_TRUE(take(a));
  ASSERT_TRUE(claims().release(mac_, b));
  EXPECT_EQ(owner(), "a");
  ASSERT_TRUE(claims().release(mac_, a));
  ASSERT_TRUE(claims().release(mac_, a)) << "gone already";
  EXPECT_EQ(owner(), "");
  EXPECT_TRUE(fs::is_empty(config_.macs_dir()));
}

TEST_F(MacClaimTest, CountsOnlyWhileItsRecordExists) {
  const std::string a = attach("a");
  const std::string b = attach("b");
  ASSERT_TRUE(take(a));
  ASSERT_TRUE(RecordStore(config_).remove(a));
  EXPECT_EQ(owner(), "");
  EXPECT_TRUE(take(b));
  EXPECT_EQ(owner(), "b");
}

TEST_F(MacClaimTest, GoesFromOneToAnotherAndBackToItsHeir) {
  const std::string a = attach("a");
  const std::string b = attach("b");
  ASSERT_TRUE(take(a));
  EXPECT_TRUE(take(b, a));
  EXPECT_EQ(owner(), "b");
  ASSERT_TRUE(claims().release(mac_, b, a));
  EXPECT_EQ(owner(), "a");
}

TEST_F(MacClaimTest, AllOfALostRecordAreFound) {
  const std::string a = attach("a");
  const std::string b = attach("b");
  ASSERT_TRUE(take(a, "", 1));
  ASSERT_TRUE(take(a, "", 2));
  ASSERT_TRUE(take(b, "", 3));
  ASSERT_TRUE(release_all_macs(config_, a));
  EXPECT_EQ(owner(1), "");
  EXPECT_EQ(owner(2), "");
  EXPECT_EQ(owner(3), "b");
}

TEST_F(MacClaimTest, F021_StrangeThingsInAClaimsPlaceAreNotFollowed) {
  const std::string a = attach("a");
  const fs::path segment = config_.macs_dir() / "1";
  fs::create_directories(segment);
  test::spit(directory_.path() / "outside", "kept");
  fs::create_symlink(directory_.path() / "outside", segment / mac_.to_string());
  EXPECT_EQ(owner(), "");
  EXPECT_TRUE(take(a));
  EXPECT_EQ(owner(), "a");
  EXPECT_EQ(test::slurp(directory_.path() / "outside"), "kept");
  fs::remove(segment / mac_.to_string());
  fs::create_directory(segment / mac_.to_string());
  const auto refused = claims().take(mac_, a);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().text().find(mac_.to_string()), std::string::npos);
}

}  // namespace
}  // namespace vmlane::cni
