// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <filesystem>

#include "lab/guest_program.h"
#include "tests/support/host.h"

namespace vmlane::lab {
namespace {

namespace fs = std::filesystem;

class GuestProgramTest : public ::testing::Test {
 protected:
  test::TemporaryDirectory directory_;
  fs::path file(const std::string& name) const { return directory_.path() / name; }
};

// cpio takes the archive apart that was put behind the image.
TEST_F(GuestProgramTest, IsAnArchiveBehindTheImage) {
  for (const std::size_t size : {0, 1, 3, 4, 5000}) {
    const std::string program(size, 'p');
    const std::string image = "an image of odd length: " + std::string(size, 'x');
    test::spit(file("image"), image);
    test::spit(file("program"), program);
    ASSERT_TRUE(add_guest_program(file("image"), file("program"), "opt/tool/bin/tool", file("out")));
    const std::string out = test::slurp(file("out"));
    ASSERT_TRUE(out.starts_with(image));
    const auto archive = out.find("070701");
    ASSERT_EQ(archive % 4, 0U) << "Linux wants archives aligned";
    const auto unpacked = test::run({"cpio", "-idm", "--quiet"},
                                    {.input = out.substr(archive), .directory = directory_.path().string()});
    ASSERT_TRUE(unpacked.ok()) << unpacked.err;
    EXPECT_EQ(test::slurp(file("opt/tool/bin/tool")), program);
    EXPECT_EQ(fs::status(file("opt/tool/bin/tool")).permissions() & fs::perms::all, fs::perms(0755));
    fs::remove_all(file("opt"));
  }
}

TEST_F(GuestProgramTest, MissingFilesAreNamed) {
  test::spit(file("there"), "x");
  for (const auto& [image, program] : {std::pair("there", "gone"), std::pair("gone", "there")}) {
    const auto made = add_guest_program(file(image), file(program), "tool", file("out"));
    ASSERT_FALSE(made);
    EXPECT_NE(made.error().message.find("/gone"), std::string::npos) << made.error().text();
    EXPECT_FALSE(fs::exists(file("out")));
  }
}

}  // namespace
}  // namespace vmlane::lab
