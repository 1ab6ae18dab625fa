// SPDX-License-Identifier: Apache-2.0
#include <filesystem>

#include "core/node_config.h"
#include "tests/support/host.h"

namespace vmlane {
namespace {

namespace fs = std::filesystem;

class NodeConfigTest : public ::testing::Test {
 protected:
  fs::path file() const { return directory_.path() / "node.json"; }
  Result<NodeConfig> load(const std::string& content) {
    test::spit(file(), content);
    return load_from(file());
  }
  static Result<NodeConfig> load_from(const std::string& path) {
    Invocation invocation;
    invocation.env["VMLANE_CONFIG"] = path;
    return load_node_config(invocation);
  }
  void expect_refused(const std::string& content, const std::string& culprit) {
    const auto config = load(content);
    ASSERT_FALSE(config) << content;
    EXPECT_NE(config.error().text().find(culprit), std::string::npos) << config.error().text();
    EXPECT_NE(config.error().text().find(file().string()), std::string::npos) << config.error().text();
  }
  const fs::path& directory() const { return directory_.path(); }

 private:
  test::TemporaryDirectory directory_;
};

TEST_F(NodeConfigTest, EmptyObjectGivesTheDefaults) {
  const auto config = load("{}");
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_EQ(config->source, file());
  EXPECT_EQ(config->state_dir, "/var/lib/vmlane");
  EXPECT_EQ(config->run_dir, "/run/vmlane");
  EXPECT_EQ(config->bpf_dir, "/sys/fs/bpf/vmlane");
  EXPECT_EQ(config->owner_uid, 107U);
  EXPECT_EQ(config->owner_gid, 107U);
  EXPECT_EQ(config->vmlane_gid, 0U);
  EXPECT_EQ(config->log_level, LogLevel::kInfo);
  EXPECT_EQ(config->attachments_dir(), "/var/lib/vmlane/attachments");
  EXPECT_EQ(config->networks_file(), "/var/lib/vmlane/networks");
  EXPECT_EQ(config->locks_dir(), "/run/vmlane/locks");
}

TEST_F(NodeConfigTest, EveryKeyIsRead) {
  const auto config = load(
      R"({"stateDir":"/a/state","runDir":"/a/run","bpfDir":"/a/bpf","logFile":"/a/log","bootIdFile":"/a/boot",
    "ownerUid":1000,"ownerGid":1001,"vmlaneGid":1002,"logLevel":"warning","logFormat":"json","logMaxBytes":4096,"objectPaths":["/a/objects"]})");
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_EQ(config->state_dir, "/a/state");
  EXPECT_EQ(config->run_dir, "/a/run");
  EXPECT_EQ(config->bpf_dir, "/a/bpf");
  EXPECT_EQ(config->log_file, "/a/log");
  EXPECT_EQ(config->boot_id_file, "/a/boot");
  EXPECT_EQ(config->owner_uid, 1000U);
  EXPECT_EQ(config->owner_gid, 1001U);
  EXPECT_EQ(config->vmlane_gid, 1002U);
  EXPECT_EQ(config->log_level, LogLevel::kWarning);
  EXPECT_EQ(config->log_format, LogFormat::kJson);
  EXPECT_EQ(config->log_max_bytes, 4096U);
  EXPECT_EQ(config->object_paths, std::vector<fs::path>{"/a/objects"});
}

TEST_F(NodeConfigTest, EveryLogLevelIsKnown) {
  EXPECT_EQ(load(R"({"logLevel":"debug"})")->log_level, LogLevel::kDebug);
  EXPECT_EQ(load(R"({"logLevel":"info"})")->log_level, LogLevel::kInfo);
  EXPECT_EQ(load(R"({"logLevel":"error"})")->log_level, LogLevel::kError);
  EXPECT_EQ(load(R"({"logFormat":"text"})")->log_format, LogFormat::kText);
}

TEST_F(NodeConfigTest, WrongValuesAreNamed) {
  for (const char* key : {"stateDir", "runDir", "bpfDir", "bootIdFile"}) {
    for (const char* value :
         {"7", "\"\"", "\"relative\"", "\"/a/../b\"", "\"/a/./b\"", "\"/a/\"", "\"/\"", "\"/a\\u0000b\""}) {
      expect_refused(std::string("{\"") + key + "\":" + value + "}", key);
    }
  }
  for (const char* key : {"ownerUid", "ownerGid", "vmlaneGid"}) {
    for (const char* value : {"-1", "4294967295", "1.5", "\"root\""}) {
      expect_refused(std::string("{\"") + key + "\":" + value + "}", key);
    }
  }
  expect_refused(R"({"logLevel":"loud"})", "logLevel");
  expect_refused(R"({"logLevel":7})", "logLevel");
  expect_refused(R"({"logFormat":"xml"})", "logFormat");
  expect_refused(R"({"logMaxBytes":0})", "logMaxBytes");
  expect_refused(R"({"logFile":7})", "logFile");
  expect_refused(R"({"objectPaths":"/a"})", "objectPaths");
  expect_refused(R"({"objectPaths":["relative"]})", "objectPaths");
}

TEST_F(NodeConfigTest, UnknownKeysAreErrors) {
  expect_refused(R"({"statedir":"/a"})", "\"statedir\"");
}

TEST_F(NodeConfigTest, BrokenFilesAreNamed) {
  expect_refused("{\n\"stateDir\": \n", "line 3");
  expect_refused("", "empty");
  expect_refused("[]", "object");
}

TEST_F(NodeConfigTest, FileThatTheEnvironmentNamesMustExist) {
  const auto config = load_from((directory() / "absent.json").string());
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().code, Code::kInvalidConfig);
  EXPECT_NE(config.error().text().find("absent.json"), std::string::npos);
  EXPECT_NE(config.error().text().find("VMLANE_CONFIG"), std::string::npos);
}

TEST_F(NodeConfigTest, SomethingElseInThePlaceOfTheFileIsAnError) {
  const auto config = load_from(directory().string());
  ASSERT_FALSE(config);
  EXPECT_NE(config.error().text().find(directory().string()), std::string::npos);
}

TEST_F(NodeConfigTest, WithoutFileAndVariableTheDefaultsHold) {
  if (fs::exists("/etc/cni/net.d/vmlane.d/node.json")) GTEST_SKIP() << "this machine has a node config";
  const auto config = load_node_config(Invocation{});
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_TRUE(config->source.empty());
  EXPECT_EQ(config->state_dir, "/var/lib/vmlane");
}

// Field case F061: no log target may break a call, so a bad one is not an error of the config.
TEST_F(NodeConfigTest, F061_LogTargetThatIsNoAbsolutePathMeansNoLog) {
  for (const char* target : {"stdout", "stderr", "", "relative/file", "/a/../b"}) {
    const auto config = load(Json{{"logFile", target}}.dump());
    ASSERT_TRUE(config) << target << ": " << config.error().text();
    EXPECT_TRUE(config->log_file.empty()) << target;
  }
}

}  // namespace
}  // namespace vmlane
