// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "core/log.h"
#include "tests/support/host.h"

namespace vmlane {
namespace {

namespace fs = std::filesystem;

class LogTest : public ::testing::Test {
 protected:
  LogTest() { config_.log_file = directory_.path() / "logs" / "vmlane.log"; }
  std::string content() const { return test::slurp(config_.log_file); }
  static std::vector<std::string> lines(const std::string& text) {
    std::vector<std::string> found;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) found.push_back(line);
    return found;
  }
  const fs::path& directory() const { return directory_.path(); }
  NodeConfig config_;

 private:
  test::TemporaryDirectory directory_;
};

TEST_F(LogTest, TextLine) {
  EXPECT_EQ(Log::line(LogFormat::kText, LogLevel::kWarning, "T", "vmlane-tap", "no bridge", {{"op", "ADD"}},
                      {{"bridge", "br 1"}, {"n", ""}}),
            "T warning vmlane-tap \"no bridge\" op=ADD bridge=\"br 1\" n=\"\"\n");
}

TEST_F(LogTest, TextLineStaysOneLine) {
  const std::string line =
      Log::line(LogFormat::kText, LogLevel::kInfo, "T", "p", "a\nb", {}, {{"k", "c\nd\re"}});
  EXPECT_EQ(std::ranges::count(line, '\n'), 1);
  EXPECT_EQ(line.find('\r'), std::string::npos);
}

TEST_F(LogTest, JsonLine) {
  const std::string line = Log::line(LogFormat::kJson, LogLevel::kError, "T", "p", "broken \"x\"",
                                     {{"op", "ADD"}}, {{"k", "\xff"}});
  EXPECT_EQ(line.back(), '\n');
  const Json json = Json::parse(line);
  EXPECT_EQ(json["time"], "T");
  EXPECT_EQ(json["level"], "error");
  EXPECT_EQ(json["program"], "p");
  EXPECT_EQ(json["message"], "broken \"x\"");
  EXPECT_EQ(json["op"], "ADD");
}

TEST_F(LogTest, LongLinesAreCutAndJsonStaysJson) {
  const std::string big(100'000, 'x');
  EXPECT_LT(Log::line(LogFormat::kText, LogLevel::kInfo, "T", "p", big, {}, {}).size(), 10'000U);
  const Json json =
      Json::parse(Log::line(LogFormat::kJson, LogLevel::kInfo, "T", "p", "message", {}, {{"k", big}}));
  EXPECT_EQ(json["message"], "message");
  EXPECT_EQ(json["cut"], true);
}

TEST_F(LogTest, WritesLinesOfItsLevelAndAbove) {
  config_.log_level = LogLevel::kWarning;
  const Log log(config_, "vmlane-tap", {{"op", "ADD"}});
  log.debug("d");
  log.info("i");
  log.warning("w");
  log.error("e");
  const auto found = lines(content());
  ASSERT_EQ(found.size(), 2U) << content();
  EXPECT_NE(found[0].find(" warning vmlane-tap \"w\" op=ADD"), std::string::npos) << found[0];
  EXPECT_NE(found[1].find(" error vmlane-tap \"e\" op=ADD"), std::string::npos) << found[1];
  struct stat info {};
  ASSERT_EQ(::stat(config_.log_file.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0007, 0U) << "not for everybody's eyes";
}

TEST_F(LogTest, TimesAreRfc3339InUtc) {
  Log(config_, "p").info("x");
  const std::string time = content().substr(0, content().find(' '));
  ASSERT_EQ(time.size(), std::string("2026-01-01T00:00:00.000000Z").size()) << time;
  EXPECT_EQ(time[10], 'T');
  EXPECT_EQ(time.back(), 'Z');
}

TEST_F(LogTest, RotatesBySizeAndKeepsFourOldFiles) {
  config_.log_max_bytes = 4096;
  const Log log(config_, "p");
  const std::string filler(200, 'x');
  for (int i = 0; i < 200; i++) log.info(std::to_string(i), {{"filler", filler}});
  std::vector<std::string> all;
  for (const char* suffix : {".4", ".3", ".2", ".1", ""}) {
    const fs::path file = config_.log_file.string() + suffix;
    ASSERT_TRUE(fs::exists(file) || std::string(suffix).empty()) << file;
    const std::string text = test::slurp(file);
    EXPECT_LE(text.size(), 4096U) << file;
    for (const auto& line : lines(text)) all.push_back(line);
  }
  EXPECT_FALSE(fs::exists(config_.log_file.string() + ".5"));
  int expected = 200 - static_cast<int>(all.size());
  for (const auto& line : all) {
    EXPECT_NE(line.find(" \"" + std::to_string(expected++) + "\" "), std::string::npos) << line;
  }
  EXPECT_EQ(expected, 200) << "the newest lines are kept, in order";
}

TEST_F(LogTest, LinesOfParallelWritersDoNotMix) {
  constexpr int kWriters = 4;
  constexpr int kLines = 300;
  config_.log_format = LogFormat::kJson;
  std::vector<pid_t> writers;
  for (int writer = 0; writer < kWriters; writer++) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      const Log log(config_, "writer" + std::to_string(writer));
      for (int i = 0; i < kLines; i++) log.info("line", {{"filler", std::string(1000, 'x')}});
      ::_exit(0);
    }
    writers.push_back(pid);
  }
  for (const pid_t pid : writers) ::waitpid(pid, nullptr, 0);
  const auto found = lines(content());
  EXPECT_EQ(found.size(), static_cast<std::size_t>(kWriters * kLines));
  for (const auto& line : found) ASSERT_TRUE(Json::accept(line)) << line;
}

TEST_F(LogTest, F086_TwoHundredParallelWritersTearNoLine) {
  constexpr int kWriters = 200;
  constexpr int kLines = 10;
  config_.log_format = LogFormat::kJson;
  config_.log_max_bytes = std::uint64_t{1} << 20;  // rotates on the way, and five files hold it all
  std::vector<pid_t> writers;
  for (int writer = 0; writer < kWriters; writer++) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      const Log log(config_, "p", {{"writer", std::to_string(writer)}});
      for (int i = 0; i < kLines; i++) log.info("line", {{"filler", std::string(1000, 'x')}});
      ::_exit(0);
    }
    writers.push_back(pid);
  }
  for (const pid_t pid : writers) ::waitpid(pid, nullptr, 0);
  std::size_t count = 0;
  for (const char* suffix : {"", ".1", ".2", ".3", ".4"}) {
    for (const auto& line : lines(test::slurp(config_.log_file.string() + suffix))) {
      ASSERT_TRUE(Json::accept(line)) << line;
      count++;
    }
  }
  EXPECT_EQ(count, static_cast<std::size_t>(kWriters * kLines));
  EXPECT_TRUE(fs::exists(config_.log_file.string() + ".1"));
}

TEST_F(LogTest, F086_LogThatCannotBeRotatedStopsGrowing) {
  config_.log_max_bytes = 4096;
  for (const char* suffix : {".1", ".2", ".3", ".4"})
    fs::create_directories(fs::path(config_.log_file.string() + suffix) / "below");
  const Log log(config_, "p");
  for (int i = 0; i < 200; i++) log.info("line", {{"filler", std::string(200, 'x')}});
  EXPECT_GT(fs::file_size(config_.log_file), 4096U);
  EXPECT_LT(fs::file_size(config_.log_file), 3U * 4096U);
}

TEST_F(LogTest, ParallelRotationLosesNoLineOfTheKeptFiles) {
  constexpr int kWriters = 4;
  constexpr int kLines = 60;
  config_.log_format = LogFormat::kJson;
  config_.log_max_bytes = 16'384;  // five files hold all that is written below
  std::vector<pid_t> writers;
  for (int writer = 0; writer < kWriters; writer++) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      const Log log(config_, "p");
      for (int i = 0; i < kLines; i++) log.info("line", {{"filler", std::string(100, 'x')}});
      ::_exit(0);
    }
    writers.push_back(pid);
  }
  for (const pid_t pid : writers) ::waitpid(pid, nullptr, 0);
  std::size_t count = 0;
  for (const char* suffix : {"", ".1", ".2", ".3", ".4"})
    count += lines(test::slurp(config_.log_file.string() + suffix)).size();
  EXPECT_EQ(count, static_cast<std::size_t>(kWriters * kLines));
}

// Field case F061: whatever the target is, standard output stays free and nothing fails.
TEST_F(LogTest, F061_BadTargetsAreSilentlyNoLog) {
  const fs::path through_link = directory() / "link.log";
  test::spit(directory() / "target", "");
  fs::create_symlink(directory() / "target", through_link);
  fs::create_directory(directory() / "dir");
  ASSERT_EQ(::mkfifo((directory() / "fifo").c_str(), 0600), 0);
  test::spit(directory() / "file", "");
  ::testing::internal::CaptureStdout();
  for (const fs::path& target :
       {fs::path("/dev/stdout"), fs::path("/proc/self/fd/1"), fs::path("/dev/fd/1"), fs::path("/dev/full"),
        fs::path("/proc/nowhere/x.log"), through_link, directory() / "dir", directory() / "fifo",
        directory() / "file" / "below.log", fs::path()}) {
    config_.log_file = target;
    Log(config_, "p").error("must not show");
  }
  std::fflush(stdout);
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");
  EXPECT_EQ(test::slurp(directory() / "target"), "") << "a symlink is not followed";
  Log().error("a log without config logs nowhere");
}

}  // namespace
}  // namespace vmlane
