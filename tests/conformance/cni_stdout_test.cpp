// SPDX-License-Identifier: Apache-2.0
// Field case F061: standard output carries exactly one JSON document or nothing, whatever the log target is
// and whatever delegates print.
#include <sys/mount.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tests/conformance/lane_test.h"

namespace vmlane::test {
namespace {

namespace fs = std::filesystem;

class StdoutTest : public LaneTest {
 protected:
  void SetUp() override {
    LaneTest::SetUp();
    if (!IsSkipped()) make_pod("a");
  }
  Pod& pod() { return *pods().at("a"); }

  // One round of every operation, each with what it must print.
  void expect_disciplined_round() {
    const CniOutcome added = add(pod(), config({{"isGateway", true}}));
    ASSERT_CNI_OK(added);
    ASSERT_TRUE(added.document) << added;
    expect_silence(check(pod(), config(), *added.document));
    expect_silence(run_call(call("STATUS", "", config())));
    expect_silence(run_call(call("GC", "", config())));
    const CniOutcome refused = add(pod(), config());
    EXPECT_CNI_ERROR(refused, Code::kConflict);
    expect_error_object(refused);
    expect_silence(del(pod().path(), config()));
    expect_silence(del(pod().path(), config()));
    CniCall version = call("VERSION", "", config());
    EXPECT_TRUE(run_call(version).document);
  }
  static void expect_silence(const CniOutcome& outcome) {
    EXPECT_CNI_OK(outcome);
    EXPECT_TRUE(outcome.silent()) << outcome;
  }
  static void expect_error_object(const CniOutcome& outcome) {
    ASSERT_TRUE(outcome.document) << outcome;
    for (const auto& [key, value] : outcome.document->items()) {
      EXPECT_TRUE(key == "cniVersion" || key == "code" || key == "msg" || key == "details") << key;
    }
    EXPECT_TRUE((*outcome.document)["cniVersion"].is_string());
    EXPECT_TRUE((*outcome.document)["code"].is_number_unsigned());
    EXPECT_TRUE((*outcome.document)["msg"].is_string());
  }
  // Writes until the file system has no room for another byte.
  static void fill_up(const fs::path& file) {
    std::ofstream out(file, std::ios::binary);
    while (out.put('x').flush()) {
    }
  }
  // A plugin that stands in for host-local: it prints `noise` and then what the real one prints.
  void wrap_ipam(const std::string& noise) {
    const fs::path file = directory() / "bin" / "noisy-ipam";
    fs::create_directories(file.parent_path());
    spit(file, "#!/bin/sh\n" + noise + "\nexec /usr/lib/cni/host-local\n");
    ::chmod(file.c_str(), 0755);
  }
  CniCall noisy_call(const std::string& command) {
    Json ipam = host_local();
    ipam["type"] = "noisy-ipam";
    CniCall out = call(command, pod().path(), config({{"ipam", ipam}}));
    out.path = (directory() / "bin").string();
    return out;
  }
};

TEST_P(StdoutTest, F061_AtTheHighestLogLevel) {
  expect_disciplined_round();
  EXPECT_NE(slurp(log_file()).find("ADD"), std::string::npos);
}

TEST_P(StdoutTest, F061_WhateverTheLogTargetIs) {
  spit(directory() / "file", "");
  for (const std::string& target :
       {std::string("stdout"), std::string("stderr"), std::string("/dev/stdout"),
        std::string("/proc/self/fd/1"), std::string("/dev/fd/1"), std::string("/dev/full"),
        std::string("/proc/nowhere/x.log"), std::string(""), (directory() / "file" / "below.log").string(),
        directory().string()}) {
    SCOPED_TRACE(target);
    configure_node({{"logFile", target}});
    expect_disciplined_round();
  }
}

TEST_P(StdoutTest, F061_WithTheLogOnAFullDisk) {
  const fs::path full = directory() / "full";
  fs::create_directory(full);
  ASSERT_EQ(::mount("tmpfs", full.c_str(), "tmpfs", 0, "size=64k"), 0);
  std::error_code ignored;
  fs::create_directory(full / "log", ignored);
  fill_up(full / "filler");
  configure_node({{"logFile", (full / "log" / "vmlane.log").string()}});
  expect_disciplined_round();
  ::umount(full.c_str());
}

TEST_P(StdoutTest, F061_LastStepOfAddFailsWithTheErrorObjectOnly) {
  int steps = 1;
  for (;; steps++) {
    CniCall call = this->call("ADD", pod().path(), config());
    call.env["VMLANE_FAULT"] = "fail:" + std::to_string(steps);
    const CniOutcome outcome = run_call(call);
    if (outcome.ok()) break;
    expect_error_object(outcome);
  }
  EXPECT_GT(steps, 5);
}

TEST_P(StdoutTest, F061_WhatADelegatePrintsToStandardErrorDoesNotLeak) {
  wrap_ipam("echo 'noise of the delegate' >&2");
  const CniOutcome added = run_call(noisy_call("ADD"));
  ASSERT_CNI_OK(added);
  EXPECT_TRUE(added.document) << added;
  expect_silence(run_call(noisy_call("DEL")));
}

TEST_P(StdoutTest, F061_DelegateThatPrintsMoreThanItsResultFailsTheAddCleanly) {
  wrap_ipam("echo 'noise before the result'");
  const Snapshot before = snapshot();
  const CniOutcome added = run_call(noisy_call("ADD"));
  EXPECT_NE(added.process.status, 0);
  expect_error_object(added);
  EXPECT_NE(added.message().find("noisy-ipam"), std::string::npos) << added;
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_P(StdoutTest, DelegateThatSaysNothingOrDiesFailsTheAddCleanly) {
  for (const char* behaviour : {"exit 0", "exit 3", "kill -9 $$", "echo '{}'; exit 0",
                                "echo '{\"code\":11,\"msg\":\"busy\"}'; exit 1", "echo broken; exit 1"}) {
    SCOPED_TRACE(behaviour);
    wrap_ipam(behaviour);
    const Snapshot before = snapshot();
    const CniOutcome added = run_call(noisy_call("ADD"));
    EXPECT_NE(added.process.status, 0) << added;
    expect_error_object(added);
    EXPECT_SNAP_CLEAN(before, snapshot());
  }
  wrap_ipam("echo '{\"code\":11,\"msg\":\"busy\"}'; exit 1");
  const CniOutcome busy = run_call(noisy_call("ADD"));
  EXPECT_EQ(busy.code(), 11) << "the delegate's own code goes up\n" << busy;
  EXPECT_NE((busy.message() + busy.details()).find("busy"), std::string::npos) << busy;
}

VMLANE_FOR_EACH_LANE(StdoutTest);

}  // namespace
}  // namespace vmlane::test
