// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "cli/output_file.h"
#include "tests/support/host.h"

namespace vmlane::test {
namespace {

namespace fs = std::filesystem;

class OutputFileTest : public testing::Test {
 protected:
  TemporaryDirectory directory_;
};

TEST_F(OutputFileTest, KeepsWhatWasThereUntilItBegins) {
  const fs::path path = directory_.path() / "out";
  spit(path, "before");
  {
    auto file = cli::OutputFile::open(path);
    ASSERT_TRUE(file) << file.error().text();
    EXPECT_EQ(slurp(path), "before");
  }
  EXPECT_EQ(slurp(path), "before");
  auto file = cli::OutputFile::open(path);
  ASSERT_TRUE(file);
  ASSERT_TRUE(file->begin());
  EXPECT_EQ(slurp(path), "");
  ASSERT_TRUE(file->write("after"));
  EXPECT_EQ(slurp(path), "after");
}

TEST_F(OutputFileTest, TakesAwayOnlyWhatItMadeForNothing) {
  const fs::path path = directory_.path() / "out";
  { ASSERT_TRUE(cli::OutputFile::open(path)); }
  EXPECT_FALSE(fs::exists(path));
  {
    auto file = cli::OutputFile::open(path);
    ASSERT_TRUE(file && file->begin());
  }
  EXPECT_TRUE(fs::exists(path));
}

TEST_F(OutputFileTest, TellsWhatCannotBeWritten) {
  const auto file = cli::OutputFile::open(directory_.path());
  ASSERT_FALSE(file);
  EXPECT_NE(file.error().text().find(directory_.path().string()), std::string::npos);
}

TEST_F(OutputFileTest, WritesIntoADeviceAsItIs) {
  auto file = cli::OutputFile::open("/dev/null");
  ASSERT_TRUE(file) << file.error().text();
  EXPECT_TRUE(file->begin());
  EXPECT_TRUE(file->write("x"));
}

}  // namespace
}  // namespace vmlane::test
