// SPDX-License-Identifier: Apache-2.0
#include "agent/directory_watch.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace vmlane::agent {

namespace fs = std::filesystem;

namespace {

// Not IN_MODIFY: a file counts once its writer has closed it.
constexpr std::uint32_t kEvents = IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE |
                                  IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;

std::int64_t nanoseconds(const timespec& time) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  return std::int64_t{time.tv_sec} * kSecond + time.tv_nsec;
}

}  // namespace

Result<DirectoryWatch> DirectoryWatch::open(fs::path directory) {
  Fd fd(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!fd) return fail(io_error("cannot watch " + directory.string(), errno));
  DirectoryWatch watch(std::move(fd), std::move(directory));
  watch.follow_name();
  return watch;
}

bool DirectoryWatch::drain() {
  alignas(inotify_event) std::array<char, 16384> buffer{};
  bool any = false;
  while (::read(fd_.get(), buffer.data(), buffer.size()) > 0) any = true;
  return any;
}

bool DirectoryWatch::follow_name() {
  const int watch = ::inotify_add_watch(fd_.get(), directory_.c_str(), kEvents);
  if (watch == watch_) return false;
  if (watch_ >= 0) ::inotify_rm_watch(fd_.get(), watch_);  // gone by itself when the directory is
  watch_ = watch;
  return true;
}

Result<FileList> list_files(const fs::path& directory, const std::function<bool(const fs::path&)>& wanted) {
  FileList files;
  std::error_code error;
  for (fs::directory_iterator it(directory, error); !error && it != fs::directory_iterator();
       it.increment(error)) {
    if (!wanted(it->path())) continue;
    struct stat info {};
    if (::stat(it->path().c_str(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    files[it->path().filename().string()] = {.device = info.st_dev,
                                             .inode = info.st_ino,
                                             .size = static_cast<std::uint64_t>(info.st_size),
                                             .modified = nanoseconds(info.st_mtim),
                                             .changed = nanoseconds(info.st_ctim)};
  }
  if (error) return fail(io_error("cannot read directory " + directory.string(), error.value()));
  return files;
}

bool is_being_written(const fs::path& file) {
  const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  // The kernel gives a lease for reading only while nobody writes.
  const bool leased = fd && ::fcntl(fd.get(), F_SETLEASE, F_RDLCK) == 0;
  if (leased) ::fcntl(fd.get(), F_SETLEASE, F_UNLCK);
  return fd && !leased && errno == EAGAIN;
}

}  // namespace vmlane::agent
