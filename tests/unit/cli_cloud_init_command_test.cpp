// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include <filesystem>
#include <sstream>

#include "cli/app.h"
#include "core/record.h"
#include "manifests/yaml.h"
#include "tests/support/host.h"

namespace vmlane::cli {
namespace {

namespace fs = std::filesystem;

struct CommandOutcome {
  int status = 0;
  std::string out;
  std::string err;
};

class CloudInitCommand : public ::testing::Test {
 protected:
  CloudInitCommand() {
    config_.state_dir = path("state");
    test::spit(path("node.json"), Json{{"stateDir", config_.state_dir.string()}}.dump());
  }

  fs::path path(const std::string& name) const { return directory_.path() / name; }

  CommandOutcome run(std::vector<std::string> arguments) const {
    std::ostringstream out;
    std::ostringstream err;
    Invocation invocation;
    invocation.env = {{"VMLANE_CONFIG", path("node.json").string()}, {"PATH", search_path_}};
    invocation.out = &out;
    invocation.err = &err;
    arguments.insert(arguments.begin(), "cloud-init");
    const int status = run_vmlanectl(arguments, invocation);
    return {status, out.str(), err.str()};
  }
  // It fails, and the error names `culprit`.
  void expect_refused(const std::vector<std::string>& arguments, const std::string& culprit,
                      int status = 1) const {
    const CommandOutcome outcome = run(arguments);
    EXPECT_EQ(outcome.status, status) << outcome.out;
    EXPECT_EQ(outcome.out, "");
    EXPECT_NE(outcome.err.find(culprit), std::string::npos) << outcome.err;
  }
  // Names of the NICs in the network configuration that the arguments give.
  std::vector<std::string> nics(std::vector<std::string> arguments) const {
    arguments.insert(arguments.end(), {"--print", "network-config"});
    const CommandOutcome outcome = run(arguments);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    const auto documents = parse_yaml(outcome.out, "network-config");
    EXPECT_TRUE(documents && documents->size() == 1) << outcome.out;
    std::vector<std::string> names;
    if (!documents || documents->empty()) return names;
    for (const auto& entry : documents->at(0).value["ethernets"].items()) names.push_back(entry.key());
    return names;
  }

  AttachmentRecord record(const std::string& ifname, const std::string& container = "c1") const {
    AttachmentRecord record;
    record.state = RecordState::kDone;
    record.key = {"blue", container, ifname};
    record.plugin = "vmlane-tap";
    record.netconf = {{"name", "blue"}};
    record.pod = {.ns = "red", .name = "launcher-1", .uid = "u1", .vm = "web", .migration = {}};
    record.mac = ifname == "eth0" ? "02:00:00:00:00:01" : "02:00:00:00:00:02";
    record.result = {{"ips", {{{"address", "192.0.2.10/24"}}}}};
    return record;
  }
  // Gives the file's path.
  std::string add(const AttachmentRecord& record) const {
    const auto written = RecordStore(config_).write(record);
    EXPECT_TRUE(written) << written.error().text();
    return (config_.attachments_dir() / (record.key.id() + ".json")).string();
  }
  // A program "xorriso" that makes an image of the names of the files it is given, or fails.
  void install_image_program(const std::string& script) {
    fs::create_directory(path("bin"));
    test::spit(path("bin/xorriso"), "#!/bin/sh\n" + script);
    fs::permissions(path("bin/xorriso"), fs::perms::owner_all);
    search_path_ = "/nonexistent:" + path("bin").string();
  }

  test::TemporaryDirectory directory_;
  NodeConfig config_;
  std::string search_path_ = "/nonexistent";
};

using Names = std::vector<std::string>;

TEST_F(CloudInitCommand, VmIsFoundByPodVmContainerOrFiles) {
  const std::string first = add(record("eth0"));
  const std::string second = add(record("net1"));
  AttachmentRecord other = record("net2", "c2");
  other.pod = {.ns = "green", .name = "launcher-2", .uid = "u2", .vm = "db", .migration = {}};
  add(other);
  for (const Names& arguments : {Names{"--pod", "red/launcher-1"},
                                 {"--pod", "launcher-1"},
                                 {"--vm", "red/web"},
                                 {"--vm", "web"},
                                 {"--container-id", "c1"},
                                 {"--record", first, second}}) {
    EXPECT_EQ(nics(arguments), (Names{"eth0", "net1"})) << arguments[1];
  }
  EXPECT_EQ(nics({"--vm", "web", "--ifname", "net1"}), Names{"net1"});
  expect_refused({"--pod", "green/launcher-1"}, "green/launcher-1");
  expect_refused({"--vm", "web", "--ifname", "net9"}, "net9");
  expect_refused({"--container-id", "c9"}, "c9");
}

TEST_F(CloudInitCommand, ExactlyOneVmIsNamed) {
  expect_refused({}, "--pod", 2);
  expect_refused({"--pod", "a", "--vm", "b"}, "--vm", 2);
  for (const std::string option : {"--pod", "--vm", "--container-id"})
    expect_refused({option, ""}, option, 2);
  for (const std::string option : {"--output", "--iso", "--user-data"})
    expect_refused({"--vm", "web", option, ""}, option, 2);
  expect_refused({"--record", "f", "--lab"}, "--lab", 2);
  expect_refused({"--vm", "web", "--force"}, "--force", 2);
  add(record("eth0"));
  add(record("eth0", "c2"));
  expect_refused({"--vm", "web"}, "c1, c2");
}

TEST_F(CloudInitCommand, PrintsAllFilesUnderHeadingsOrOne) {
  add(record("eth0"));
  const CommandOutcome all = run({"--vm", "web"});
  ASSERT_EQ(all.status, 0) << all.err;
  const auto documents = parse_yaml(all.out, "output");
  ASSERT_TRUE(documents) << documents.error().text();
  EXPECT_EQ(documents->size(), 3U) << all.out;
  for (const std::string name : {"network-config", "meta-data", "user-data"}) {
    const CommandOutcome one = run({"--vm", "web", "--print", name});
    EXPECT_NE(all.out.find("--- # " + name + "\n" + one.out), std::string::npos) << all.out;
  }
  expect_refused({"--vm", "web", "--print", "vendor-data"}, "vendor-data", 2);
}

TEST_F(CloudInitCommand, UnfinishedAndForeignRecordsAreLeftOutWithAWarning) {
  add(record("eth0"));
  AttachmentRecord unfinished = record("net1");
  unfinished.state = RecordState::kIntent;
  const std::string file = add(unfinished);
  const std::string cut = (config_.attachments_dir() / "ffffffffffffffffffffffffffffffff.json").string();
  test::spit(cut, "{\"schema\":");
  const CommandOutcome outcome = run({"--vm", "web"});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("warning: attachment " + unfinished.key.id()), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find(cut), std::string::npos) << outcome.err;
  EXPECT_EQ(nics({"--vm", "web"}), Names{"eth0"});
  expect_refused({"--vm", "web", "--ifname", "net1"}, "net1");
  expect_refused({"--record", file}, file);
  expect_refused({"--record", cut}, cut);
  expect_refused({"--record", path("none.json").string()}, "none.json");
}

TEST_F(CloudInitCommand, NicOfAContainerIsTakenOnlyWhenNamed) {
  AttachmentRecord of_pod = record("eth0");
  of_pod.plugin = "vmlane-veth";
  const std::string file = add(of_pod);
  expect_refused({"--vm", "web"}, "--ifname eth0");
  add(record("net1"));
  EXPECT_EQ(nics({"--vm", "web"}), Names{"net1"});
  EXPECT_EQ(nics({"--vm", "web", "--ifname", "eth0", "--ifname", "net1"}), (Names{"eth0", "net1"}));
  EXPECT_EQ(nics({"--record", file}), Names{"eth0"});
}

TEST_F(CloudInitCommand, RecordsOfTwoSandboxesAreNoVm) {
  const std::string first = add(record("eth0"));
  const std::string second = add(record("net1", "c2"));
  expect_refused({"--record", first, second}, second);
}

TEST_F(CloudInitCommand, DirectoryIsWrittenOnceAndReplacedOnlyByForce) {
  add(record("eth0"));
  const std::string seed = path("a/seed").string();
  const CommandOutcome outcome = run({"--vm", "web", "--output", seed + "/"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.out, seed + "/network-config\n" + seed + "/meta-data\n" + seed + "/user-data\n");
  EXPECT_EQ(test::slurp(seed + "/meta-data"), run({"--vm", "web", "--print", "meta-data"}).out);
  struct stat info {};
  ASSERT_EQ(::stat((seed + "/user-data").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600U);
  fs::remove(seed + "/network-config");
  test::spit(seed + "/user-data", "mine");
  expect_refused({"--vm", "web", "--output", seed}, seed + "/meta-data");
  EXPECT_FALSE(fs::exists(seed + "/network-config")) << "all or nothing";
  EXPECT_EQ(run({"--vm", "web", "--output", seed, "--force"}).status, 0);
  EXPECT_NE(test::slurp(seed + "/user-data"), "mine");
  EXPECT_EQ(std::distance(fs::directory_iterator(seed), fs::directory_iterator()), 3);
}

TEST_F(CloudInitCommand, UserDataAndKeysComeFromFiles) {
  add(record("eth0"));
  test::spit(path("user"), "#!/bin/sh\nid\n");
  fs::create_symlink(path("user"), path("link"));
  EXPECT_EQ(run({"--vm", "web", "--user-data", path("link"), "--print", "user-data"}).out, "#!/bin/sh\nid\n");
  test::spit(path("a.pub"), "ssh-ed25519 AAAAC3a a\n");
  test::spit(path("b.pub"), "ssh-ed25519 AAAAC3b b\n");
  const CommandOutcome keys =
      run({"--vm", "web", "--ssh-key", path("a.pub"), "--ssh-key", path("b.pub"), "--print", "user-data"});
  EXPECT_NE(keys.out.find("AAAAC3a"), std::string::npos) << keys.out << keys.err;
  EXPECT_NE(keys.out.find("AAAAC3b"), std::string::npos) << keys.out << keys.err;
  test::spit(path("bad"), "packages: [vim]\n");
  expect_refused({"--vm", "web", "--user-data", path("bad")}, "--user-data " + path("bad").string());
  expect_refused({"--vm", "web", "--ssh-key", path("bad")}, "--ssh-key " + path("bad").string());
  expect_refused({"--vm", "web", "--ssh-key", path("none")}, "--ssh-key");
  expect_refused({"--vm", "web", "--ssh-key", path("a.pub"), "--user-data", path("user")}, "--ssh-key", 2);
}

TEST_F(CloudInitCommand, ImageIsMadeByAnInstalledProgram) {
  add(record("eth0"));
  const std::string image = path("seed.iso").string();
  expect_refused({"--vm", "web", "--iso", image}, "package xorriso or genisoimage");
  install_image_program(
      "while [ $# -gt 2 ]; do [ $1 = -volid ] && label=$2; [ $1 = -output ] && out=$2; shift; done\n"
      "{ echo $label; ls $2; } > $out\n");
  const CommandOutcome outcome = run({"--vm", "web", "--iso", image});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.out, image + "\n");
  EXPECT_EQ(test::slurp(image), "cidata\nmeta-data\nnetwork-config\nuser-data\n");
  expect_refused({"--vm", "web", "--iso", image}, image);
  EXPECT_EQ(run({"--vm", "web", "--iso", image, "--force"}).status, 0);
}

TEST_F(CloudInitCommand, FailureOfTheImageProgramIsToldAndLeavesNothing) {
  add(record("eth0"));
  install_image_program("echo no room >&2\nexit 7\n");
  expect_refused({"--vm", "web", "--iso", path("out.iso")}, "no room");
  for (const auto& entry : fs::directory_iterator(directory_.path()))
    EXPECT_EQ(entry.path().filename().string().find("out.iso"), std::string::npos) << entry.path();
}

TEST_F(CloudInitCommand, ImageHasTheLabelAndNamesThatCloudInitLooksFor) {
  search_path_ = "/usr/local/bin:/usr/bin:/bin";
  add(record("eth0"));
  const std::string image = path("seed.iso").string();
  const CommandOutcome outcome = run({"--vm", "web", "--iso", image});
  if (outcome.err.find("PATH has neither") != std::string::npos)
    GTEST_SKIP() << "neither xorriso nor genisoimage is installed";
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const std::string content = test::slurp(image);
  constexpr std::size_t kVolumeId = 16 * 2048 + 40;  // ECMA-119, 8.4.8
  ASSERT_GT(content.size(), kVolumeId);
  EXPECT_EQ(content.substr(kVolumeId, 7), "cidata ");
  EXPECT_NE(content.find("network-config"), std::string::npos);
}

}  // namespace
}  // namespace vmlane::cli
