// SPDX-License-Identifier: Apache-2.0
// The log: one summary line for each operation, whatever came of it, and field case F086: a log never fills a
// disk and never fails an operation.
#include <sys/mount.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>

#include "core/log.h"
#include "tests/conformance/lane_test.h"
#include "tests/support/long_run.h"

namespace vmlane::test {
namespace {

namespace fs = std::filesystem;

class SummaryTest : public LaneTest {
 protected:
  void SetUp() override {
    LaneTest::SetUp();
    if (IsSkipped()) return;
    make_pod("a");
    configure_node({{"logFormat", "json"}, {"logLevel", "info"}});
  }
  Pod& pod() { return *pods().at("a"); }
  bool is_multus() const { return plugin() == "vmlane-multus"; }

  // The lines that sum up an operation, and forget them.
  std::vector<Json> summaries() {
    std::vector<Json> found;
    std::istringstream in(slurp(log_file()));
    for (std::string line; std::getline(in, line);) {
      const Json json = Json::parse(line);
      if (json.contains("outcome")) found.push_back(json);
    }
    fs::remove(log_file());
    return found;
  }
  // Runs a call and gives its summary, which must be one.
  Json summary_of(const CniCall& call) {
    const CniOutcome outcome = run_call(call);
    const auto found = summaries();
    EXPECT_EQ(found.size(), 1U) << outcome;
    if (found.empty()) return Json::object();
    const Json& line = found[0];
    EXPECT_EQ(line["program"], plugin());
    EXPECT_EQ(line["op"], call.command.value_or(""));
    EXPECT_GT(std::stod(line.value("ms", "-1")), 0.0) << line;
    EXPECT_EQ(line["outcome"], outcome.ok() ? "ok" : "error") << line;
    EXPECT_EQ(line["code"], std::to_string(outcome.ok() ? 0 : outcome.code())) << line;
    EXPECT_EQ(line["level"], outcome.ok() ? "info" : "error") << line;
    if (!outcome.ok()) {
      EXPECT_NE(line.value("error", "").find(outcome.message()), std::string::npos) << line;
    }
    return line;
  }
  void expect_attachment(const Json& line) const {
    EXPECT_EQ(line["network"], "blue") << line;
    EXPECT_EQ(line["container"], "c1") << line;
    EXPECT_EQ(line["ifname"], "eth0") << line;
    EXPECT_EQ(line.value("id", ""), is_multus() ? "" : id_of()) << line;
  }
  CniCall call_of(const std::string& command, const Json& more = Json::object()) {
    return call(command, command == "GC" || command == "STATUS" ? "" : pod().path(), config(more));
  }
};

TEST_P(SummaryTest, EachOperationHasOneLineWithIdsOutcomeAndDuration) {
  const Json prev = {{"prevResult", {{"cniVersion", "1.1.0"}}}};
  // For vmlane-multus there is no pod, so that its ADD fails: that has one line as well.
  expect_attachment(summary_of(call_of("ADD")));
  expect_attachment(summary_of(call_of("ADD")));
  expect_attachment(summary_of(call_of("CHECK", prev)));
  expect_attachment(summary_of(call_of("DEL")));
  expect_attachment(summary_of(call_of("DEL")));
  expect_attachment(summary_of(call_of("CHECK", prev)));
  EXPECT_EQ(summary_of(call_of("STATUS"))["network"], "blue");
  EXPECT_EQ(summary_of(call_of("GC"))["network"], "blue");
  EXPECT_EQ(summary_of(call_of("GC", {{"cni.dev/valid-attachments", Json::array()}}))["network"], "blue");
  EXPECT_EQ(summary_of(call_of("GC", {{"cni.dev/valid-attachments", 7}}))["outcome"], "error");
}

TEST_P(SummaryTest, CallsThatEndEarlyHaveTheirLineToo) {
  CniCall broken = call_of("ADD");
  broken.raw_config = "{ cut";
  EXPECT_EQ(summary_of(broken)["container"], "c1");
  CniCall hostile = call_of("DEL");
  hostile.container_id = "../../x\n forged=line";
  EXPECT_EQ(summary_of(hostile)["container"], *hostile.container_id);
  CniCall incomplete = call_of("ADD");
  incomplete.netns.reset();
  EXPECT_EQ(summary_of(incomplete)["code"], "4");
  CniCall unknown = call_of("FROB");
  EXPECT_EQ(summary_of(unknown)["code"], "4");
  CniCall old = call_of("ADD", {{"cniVersion", "9.9.9"}});
  expect_attachment(summary_of(old));
  run_call(call("VERSION", "", config()));
  EXPECT_TRUE(summaries().empty()) << "VERSION is no operation on anything";
}

TEST_P(SummaryTest, TextLinesHaveTheSameFields) {
  configure_node({{"logFormat", "text"}, {"logLevel", "info"}});
  run_call(call_of("DEL"));
  std::istringstream in(slurp(log_file()));
  int count = 0;
  for (std::string line; std::getline(in, line);) {
    if (line.find(" outcome=") == std::string::npos) continue;
    count++;
    for (const char* field : {" op=DEL ", " network=blue ", " container=c1 ", " ifname=eth0 ", " outcome=ok ",
                              " code=0 ", " ms="})
      EXPECT_NE((line + " ").find(field), std::string::npos) << field << "\n" << line;
  }
  EXPECT_EQ(count, 1);
}

INSTANTIATE_TEST_SUITE_P(Program, SummaryTest,
                         ::testing::Values("vmlane-veth", "vmlane-tap", "vmlane-multus"),
                         [](const ::testing::TestParamInfo<std::string>& program) {
                           return program.param.substr(7);
                         });

class LogSpaceTest : public LaneTest {
 protected:
  void SetUp() override {
    LaneTest::SetUp();
    if (IsSkipped()) return;
    make_pod("a");
    fs::create_directory(disk());
    ASSERT_EQ(::mount("tmpfs", disk().c_str(), "tmpfs", 0, "size=5m"), 0);
    configure_node({{"logFile", file().string()}});
  }
  Pod& pod() { return *pods().at("a"); }
  fs::path disk() const { return directory() / "disk"; }
  fs::path file() const { return disk() / "vmlane.log"; }
  double used() const {
    struct statvfs room {};
    EXPECT_EQ(::statvfs(disk().c_str(), &room), 0);
    return 1.0 - static_cast<double>(room.f_bavail) / static_cast<double>(room.f_blocks);
  }
  CniOutcome failing_add(int number) {
    return run_call(call("ADD", pod().path(), config({{"mtu", "wrong"}}), "c" + std::to_string(number)));
  }
  bool set_immutable(bool immutable) const {
    return test::run({"chattr", immutable ? "+i" : "-i", file().string()}).ok();
  }
};

TEST_P(LogSpaceTest, F086_FailingAddsNeverFillASmallDiskAndTheLastErrorsAreThere) {
  // What many failing ADDs would write, by the same code in this process, then real ones.
  const Log log(node(), "vmlane-veth", {{"op", "ADD"}});
  const int count = rounds(20, 2000);
  constexpr int kLinesARound = 1000;
  for (int round = 0; round < count; round++) {
    for (int i = 0; i < kLinesARound; i++) log.error("failed", {{"error", std::string(300, 'x')}});
    ASSERT_LT(used(), 0.2) << "after " << round << " rounds";
  }
  const int adds = rounds(20, 20'000);
  for (int i = 0; i < adds; i++) {
    EXPECT_CNI_ERROR(failing_add(i), Code::kInvalidConfig);
    ASSERT_LT(used(), 0.2) << "after ADD " << i;
  }
  std::string all;
  for (const char* suffix : {".4", ".3", ".2", ".1", ""}) all += slurp(file().string() + suffix);
  constexpr int kLast = 5;
  for (int i = adds - kLast; i < adds; i++)
    EXPECT_NE(all.find("container=c" + std::to_string(i)), std::string::npos) << i;
}

TEST_P(LogSpaceTest, F086_LogDeletedReplacedOrImmutableBreaksNoCall) {
  const Json conf = config();
  const std::vector<std::pair<const char*, std::function<void()>>> accidents = {
      {"deleted", [this] { fs::remove(file()); }},
      {"a directory",
       [this] {
         fs::remove(file());
         fs::create_directories(file() / "below");
       }},
      {"without its directory", [this] {
         fs::remove_all(file());
         ::umount(disk().c_str());
         fs::remove(disk());
       }}};
  for (const auto& [name, happen] : accidents) {
    SCOPED_TRACE(name);
    ASSERT_CNI_OK(add(pod(), conf));
    happen();
    EXPECT_CNI_OK(del(pod().path(), conf));
    EXPECT_CNI_ERROR(failing_add(1), Code::kInvalidConfig);
  }
  configure_node(Json::object());  // the fixture's log, which is on a disk that has the attribute
  ASSERT_CNI_OK(add(pod(), conf));
  if (!test::run({"chattr", "+i", log_file().string()}).ok())
    GTEST_SKIP() << "the file system has no immutable files; the other accidents were tested";
  const std::string before = slurp(log_file());
  EXPECT_CNI_OK(del(pod().path(), conf));
  EXPECT_EQ(slurp(log_file()), before);
  test::run({"chattr", "-i", log_file().string()});
}

VMLANE_FOR_EACH_LANE(LogSpaceTest);

}  // namespace
}  // namespace vmlane::test
