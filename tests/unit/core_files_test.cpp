// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "core/boot_id.h"
#include "core/files.h"
#include "tests/support/host.h"

namespace vmlane {
namespace {

namespace fs = std::filesystem;
using test::slurp;
using test::spit;

class FilesTest : public ::testing::Test {
 protected:
  fs::path at(const std::string& name) const { return directory_.path() / name; }
  static mode_t mode_of(const fs::path& path) {
    struct stat info {};
    EXPECT_EQ(::lstat(path.c_str(), &info), 0);
    return info.st_mode & 07777;
  }
  const fs::path& directory() const { return directory_.path(); }
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(directory_.path()))
      found.push_back(entry.path().filename());
    return found;
  }

 private:
  test::TemporaryDirectory directory_;
};

TEST_F(FilesTest, ReadsARegularFile) {
  spit(at("a"), "content");
  EXPECT_EQ(read_file(at("a")).value(), "content");
  spit(at("a"), "");
  EXPECT_EQ(read_file(at("a")).value(), "");
}

TEST_F(FilesTest, MissingFileIsNoValue) {
  const auto content = read_file(at("absent"));
  ASSERT_TRUE(content);
  EXPECT_FALSE(*content);
}

TEST_F(FilesTest, ReadsUpToTheLimit) {
  spit(at("a"), std::string(100, 'x'));
  EXPECT_TRUE(read_file(at("a"), 100));
  const auto longer = read_file(at("a"), 99);
  ASSERT_FALSE(longer);
  EXPECT_NE(longer.error().message.find(at("a").string()), std::string::npos);
  EXPECT_NE(longer.error().message.find("99"), std::string::npos);
}

TEST_F(FilesTest, F021_OnlyRegularFilesAreRead) {
  spit(at("target"), "secret");
  fs::create_symlink(at("target"), at("link"));
  fs::create_directory(at("dir"));
  ASSERT_EQ(::mkfifo(at("fifo").c_str(), 0600), 0);
  fs::create_symlink(at("nowhere"), at("dangling"));
  for (const char* name : {"link", "dir", "fifo", "dangling"}) {
    const auto content = read_file(at(name));
    ASSERT_FALSE(content) << name;
    EXPECT_EQ(content.error().code, Code::kIo);
    EXPECT_NE(content.error().message.find(at(name).string()), std::string::npos) << content.error().message;
  }
  EXPECT_FALSE(read_file("/dev/zero"));
}

TEST_F(FilesTest, HoweverSyncedTheContentIsThereAndNothingElse) {
  for (const Sync sync : {Sync::kFull, Sync::kContent, Sync::kLater}) {
    ASSERT_TRUE(write_file_atomically(at("a"), "one", {.mode = 0640, .sync = sync}));
    EXPECT_EQ(read_file(at("a")).value(), "one");
    EXPECT_TRUE(sync_file(at("a")));
  }
  EXPECT_EQ(names(), std::vector<std::string>{"a"});
  const auto absent = sync_file(at("absent"));
  ASSERT_FALSE(absent);
  EXPECT_NE(absent.error().text().find("absent"), std::string::npos);
}

TEST_F(FilesTest, AtomicWriteReplacesContentAndSetsTheMode) {
  const mode_t old = ::umask(0077);
  const auto written = write_file_atomically(at("a"), "one", {.mode = 0644});
  ::umask(old);
  ASSERT_TRUE(written) << written.error().text();
  EXPECT_EQ(slurp(at("a")), "one");
  EXPECT_EQ(mode_of(at("a")), 0644U);
  ASSERT_TRUE(write_file_atomically(at("a"), "two"));
  EXPECT_EQ(slurp(at("a")), "two");
  EXPECT_EQ(mode_of(at("a")), 0640U);
  EXPECT_EQ(names(), std::vector<std::string>{"a"});
}

TEST_F(FilesTest, F021_AtomicWriteReplacesASymlinkAndNotItsTarget) {
  spit(at("target"), "untouched");
  fs::create_symlink(at("target"), at("link"));
  ASSERT_TRUE(write_file_atomically(at("link"), "new"));
  EXPECT_EQ(slurp(at("target")), "untouched");
  EXPECT_FALSE(fs::is_symlink(at("link")));
  EXPECT_EQ(slurp(at("link")), "new");
}

TEST_F(FilesTest, PathsMayBeRelative) {
  const fs::path before = fs::current_path();
  fs::current_path(at(""));
  for (const char* path : {"a", "./a"}) {
    const auto written = write_file_atomically(path, "one");
    EXPECT_TRUE(written) << written.error().text();
    const auto synced = sync_file(path);
    EXPECT_TRUE(synced) << synced.error().text();
    EXPECT_TRUE(remove_file(path));
  }
  EXPECT_TRUE(make_directory("one/two"));
  EXPECT_TRUE(fs::is_directory("one/two"));
  fs::current_path(before);
}

TEST_F(FilesTest, FailedWriteLeavesNothing) {
  fs::create_directory(at("dir"));
  const auto onto_directory = write_file_atomically(at("dir"), "x");
  ASSERT_FALSE(onto_directory);
  EXPECT_NE(onto_directory.error().message.find(at("dir").string()), std::string::npos);
  EXPECT_EQ(names(), std::vector<std::string>{"dir"});
  EXPECT_FALSE(write_file_atomically(at("absent/file"), "x"));
}

TEST_F(FilesTest, TemporaryFileOfAKilledWriterIsNoObstacle) {
  spit(at(".a." + std::to_string(::getpid()) + ".tmp"), "half");
  ASSERT_TRUE(write_file_atomically(at("a"), "whole"));
  EXPECT_EQ(slurp(at("a")), "whole");
  EXPECT_EQ(names(), std::vector<std::string>{"a"});
}

TEST_F(FilesTest, ReaderSeesOldOrNewContentAndNothingBetween) {
  const std::string old_content(100'000, 'o');
  const std::string new_content(100'000, 'n');
  ASSERT_TRUE(write_file_atomically(at("a"), old_content));
  const pid_t writer = ::fork();
  if (writer == 0) {
    for (int i = 0;; i++)
      static_cast<void>(write_file_atomically(at("a"), i % 2 == 0 ? new_content : old_content));
  }
  for (int i = 0; i < 500; i++) {
    const auto content = read_file(at("a"));
    EXPECT_TRUE(content && *content && (**content == old_content || **content == new_content));
  }
  ::kill(writer, SIGKILL);
  ::waitpid(writer, nullptr, 0);
  const std::string last = slurp(at("a"));
  EXPECT_TRUE(last == old_content || last == new_content);
}

TEST_F(FilesTest, MakesDirectoriesWithTheGivenModeWhateverTheUmask) {
  const mode_t old = ::umask(0077);
  const auto made = make_directory(at("x/y/z"), {.mode = 0750});
  ::umask(old);
  ASSERT_TRUE(made) << made.error().text();
  EXPECT_EQ(mode_of(at("x/y/z")), 0750U);
  EXPECT_EQ(mode_of(at("x/y")), 0755U);
  EXPECT_TRUE(make_directory(at("x/y/z")));
}

TEST_F(FilesTest, DirectoryIsNotMadeInThePlaceOfSomethingElse) {
  spit(at("file"), "x");
  fs::create_directory(at("real"));
  fs::create_symlink(at("real"), at("link"));
  for (const char* name : {"file", "link", "file/below"}) {
    const auto made = make_directory(at(name));
    ASSERT_FALSE(made) << name;
    EXPECT_NE(made.error().message.find(directory().string()), std::string::npos) << made.error().message;
  }
  EXPECT_TRUE(make_directory(at("link/below"))) << "parents may be symlinks, as /var/run is";
}

TEST_F(FilesTest, RemovesFilesAndSymlinksButNotTargets) {
  spit(at("target"), "x");
  fs::create_symlink(at("target"), at("link"));
  EXPECT_TRUE(remove_file(at("link")));
  EXPECT_TRUE(fs::exists(at("target")));
  EXPECT_TRUE(remove_file(at("target")));
  EXPECT_TRUE(remove_file(at("target"))) << "gone already is success";
  fs::create_directory(at("dir"));
  EXPECT_FALSE(remove_file(at("dir")));
}

TEST_F(FilesTest, FdClosesOnceAndMoves) {
  const int raw = ::open("/dev/null", O_RDONLY);
  Fd first(raw);
  Fd second(std::move(first));
  EXPECT_EQ(second.get(), raw);
  second = Fd(::open("/dev/null", O_RDONLY));
  EXPECT_EQ(::fcntl(raw, F_GETFD), -1) << "assignment closes what was held";
  const int released = second.release();
  EXPECT_FALSE(second);
  EXPECT_EQ(::close(released), 0);
}

TEST_F(FilesTest, BootIdIsReadWithoutDashes) {
  spit(at("boot"), "01234567-89ab-cdef-0123-456789abcdef\n");
  EXPECT_EQ(read_boot_id(at("boot")).value(), "0123456789abcdef0123456789abcdef");
  for (const char* text : {"", "\n", "not hex", "../../x"}) {
    spit(at("boot"), text);
    EXPECT_FALSE(read_boot_id(at("boot"))) << text;
  }
  EXPECT_FALSE(read_boot_id(at("absent")));
  EXPECT_TRUE(read_boot_id("/proc/sys/kernel/random/boot_id"));
}

}  // namespace
}  // namespace vmlane
