// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <thread>

#include "core/exec.h"
#include "tests/support/host.h"

namespace vmlane {
namespace {

// Plugins written in sh, in a directory of the test.
class ExecTest : public ::testing::Test {
 protected:
  std::filesystem::path script(const std::string& name, const std::string& body) const {
    const auto path = directory_.path() / name;
    test::spit(path, "#!/bin/sh\n" + body + "\n");
    ::chmod(path.c_str(), 0755);
    return path;
  }
  Result<std::string> run(const std::string& body, const std::string& input = "{}",
                          const ExecLimits& limits = {}) const {
    return run_plugin(script("p", body), env_, input, limits);
  }

  test::TemporaryDirectory directory_;
  Environment env_ = {{"PATH", "/usr/bin:/bin"}, {"CNI_COMMAND", "ADD"}};
};

TEST_F(ExecTest, GivesStandardOutputAndPassesEnvironmentAndInput) {
  const auto output = run("echo \"$CNI_COMMAND $HOME.\"; cat", "the config");
  ASSERT_TRUE(output) << output.error().text();
  EXPECT_EQ(*output, "ADD .\nthe config");  // and nothing of the caller's environment
}

TEST_F(ExecTest, InputLargerThanAPipeIsNotNeededToBeRead) {
  const std::string input(std::size_t{1} << 20, 'x');
  const auto ignored = run("true", input);
  EXPECT_TRUE(ignored);
  const auto counted = run("wc -c", input);
  ASSERT_TRUE(counted);
  EXPECT_EQ(std::stoul(*counted), input.size());
}

TEST_F(ExecTest, ErrorObjectBecomesOurError) {
  const auto output =
      run(R"(echo '{"cniVersion":"1.0.0","code":11,"msg":"not yet","details":"wait"}'; exit 1)");
  ASSERT_FALSE(output);
  EXPECT_EQ(output.error().code, Code::kTryAgain);
  EXPECT_EQ(output.error().message, "not yet");
  EXPECT_EQ(output.error().details, "wait");
}

TEST_F(ExecTest, FailureWithoutErrorObjectQuotesWhatThereIs) {
  const auto silent = run("echo 'cannot open x' >&2; exit 3");
  ASSERT_FALSE(silent);
  EXPECT_EQ(silent.error().code, Code::kDelegate);
  EXPECT_NE(silent.error().message.find("status 3"), std::string::npos);
  EXPECT_EQ(silent.error().details, "cannot open x");

  const auto chatty = run("echo 'panic: oh'; exit 2");
  ASSERT_FALSE(chatty);
  EXPECT_NE(chatty.error().message.find("no CNI error object"), std::string::npos);
  EXPECT_EQ(chatty.error().details, "panic: oh");

  const auto killed = run("kill -9 $$");
  ASSERT_FALSE(killed);
  EXPECT_NE(killed.error().message.find("signal 9"), std::string::npos);
}

TEST_F(ExecTest, HangingPluginAndItsChildrenAreKilled) {
  const auto marker = directory_.path() / "alive";
  const auto output = run("(sleep 1; touch " + marker.string() + ") & sleep 60", "{}",
                          {.timeout = std::chrono::milliseconds(200)});
  ASSERT_FALSE(output);
  EXPECT_EQ(output.error().code, Code::kTryAgain);
  EXPECT_NE(output.error().message.find("200 ms"), std::string::npos);
  std::this_thread::sleep_for(std::chrono::milliseconds(1200));
  EXPECT_FALSE(std::filesystem::exists(marker));
}

TEST_F(ExecTest, EndlessOutputIsCut) {
  const auto output = run("yes", "{}", {.max_output = 100'000});
  ASSERT_FALSE(output);
  EXPECT_EQ(output.error().code, Code::kDelegate);
  EXPECT_NE(output.error().message.find("100000 bytes"), std::string::npos);
}

TEST_F(ExecTest, BackgroundChildThatKeepsOutputOpenIsNotWaitedFor) {
  const auto start = std::chrono::steady_clock::now();
  const auto output = run("sleep 5 & echo done");
  ASSERT_TRUE(output);
  EXPECT_EQ(*output, "done\n");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(4));
}

TEST_F(ExecTest, ProgramOfTheNodeGetsItsArgumentsAndIsQuotedWhenItFails) {
  const auto path = script("tool", R"(printf '%s|' "$@"; [ "$1" = ok ] || { echo 'no chain' >&2; exit 4; })");
  const auto command = [&](std::vector<std::string> arguments) {
    return Command{
        .noun = "program", .program = path, .arguments = std::move(arguments), .env = env_, .input = {}};
  };
  EXPECT_EQ(run_program(command({"ok", "a b", "", "$x"})).value_or(""), "ok|a b||$x|");
  const auto failed = run_program(command({"-w", "5"}));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, Code::kDelegate);
  EXPECT_EQ(failed.error().message, "program " + path.string() + " -w 5 ended with status 4");
  EXPECT_EQ(failed.error().details, "no chain");
}

TEST_F(ExecTest, BusyProgramIsTriedAgain) {
  const auto path = directory_.path() / "busy";
  std::filesystem::copy_file("/bin/true", path);
  Fd writer(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  std::jthread release([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    writer = Fd();
  });
  EXPECT_TRUE(run_plugin(path, env_, "{}"));
}

TEST_F(ExecTest, FindsRegularExecutablesInOrderOnly) {
  const auto first = directory_.path() / "first";
  const auto second = directory_.path() / "second";
  std::filesystem::create_directories(first / "a-directory");
  std::filesystem::create_directories(second);
  test::spit(first / "plugin", "not executable");
  test::spit(second / "plugin", "#!/bin/sh\n");
  ::chmod((second / "plugin").c_str(), 0755);
  const std::string path = first.string() + "::" + second.string();
  EXPECT_EQ(find_plugin(path, "plugin").value_or(""), second / "plugin");

  const auto directory = find_plugin(path, "a-directory");
  ASSERT_FALSE(directory);
  EXPECT_NE(directory.error().details.find(first.string() + ", " + second.string()), std::string::npos);
}

TEST_F(ExecTest, F021TypeCannotLeaveTheSearchPath) {
  for (const std::string type : {"../../bin/sh", "..", ".", "/bin/sh", "a/b", "", "-rf", "a b", "a\nb"}) {
    const auto found = find_plugin("/bin:/usr/bin", type);
    ASSERT_FALSE(found) << type;
    EXPECT_EQ(found.error().code, Code::kInvalidConfig) << type;
  }
}

TEST_F(ExecTest, ResultMustBeAnObject) {
  EXPECT_TRUE(parse_plugin_result(R"({"cniVersion":"1.0.0"})", "p"));
  for (const char* output : {"", "  \n", "ok", "[]", "null", R"({"a":1} {"b":2})"}) {
    const auto result = parse_plugin_result(output, "p");
    ASSERT_FALSE(result) << output;
    EXPECT_EQ(result.error().code, Code::kDelegate);
    EXPECT_NE(result.error().message.find("\"p\""), std::string::npos);
  }
}

}  // namespace
}  // namespace vmlane
