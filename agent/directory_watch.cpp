// SPDX-License-Identifier: Apache-2.0
#include "agent/directory_watch.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace vmlane::agent {

namespace fs = std::filesystem;

namespace {

// A file counts once its writer has closed it; IN_MODIFY tells that somebody has begun. IN_MASK_ADD because
// the watch is asked for again and again: without it the kernel empties the mask for a moment before it sets
// it anew, and what happens in that moment is told to nobody.
constexpr std::uint32_t kEvents = IN_CLOSE_WRITE | IN_MODIFY | IN_CREATE | IN_MOVED_FROM | IN_MOVED_TO |
                                  IN_DELETE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR |
                                  IN_MASK_ADD;

std::int64_t nanoseconds_of(const timespec& time) {
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

DirectoryEvents DirectoryWatch::drain() {
  constexpr std::size_t kRoom = 16384;
  alignas(inotify_event) std::array<char, kRoom> buffer{};
  DirectoryEvents events{.everything = !drained_, .names = {}};
  drained_ = true;
  for (ssize_t size = 0; (size = ::read(fd_.get(), buffer.data(), buffer.size())) > 0;) {
    for (const char* at = buffer.data(); at < buffer.data() + size;) {
      inotify_event event{};
      std::memcpy(&event, at, sizeof(event));
      if ((event.mask & IN_Q_OVERFLOW) != 0) events.everything = true;
      // Those of a directory that is not watched any more come late.
      if (event.len > 0 && event.wd == watch_) events.names.emplace(at + sizeof(event));
      at += sizeof(event) + event.len;
    }
  }
  events.everything = follow_name() || events.everything;
  return events;
}

bool DirectoryWatch::follow_name() {
  const int watch = ::inotify_add_watch(fd_.get(), directory_.c_str(), kEvents);
  if (watch == watch_) return false;
  if (watch_ >= 0) ::inotify_rm_watch(fd_.get(), watch_);  // gone by itself when the directory is
  watch_ = watch;
  return true;
}

std::optional<FileIdentity> identify(const fs::path& file) {
  struct stat info {};
  if (::lstat(file.c_str(), &info) != 0) return std::nullopt;
  const bool is_link = S_ISLNK(info.st_mode);
  if ((is_link && ::stat(file.c_str(), &info) != 0) || !S_ISREG(info.st_mode)) return std::nullopt;
  return FileIdentity{.device = info.st_dev,
                      .inode = info.st_ino,
                      .size = static_cast<std::uint64_t>(info.st_size),
                      .modified = nanoseconds_of(info.st_mtim),
                      .changed = nanoseconds_of(info.st_ctim),
                      .linked = is_link || info.st_nlink > 1};
}

Result<FileList> list_files(const fs::path& directory, const std::function<bool(const fs::path&)>& wanted) {
  FileList files;
  std::error_code error;
  for (fs::directory_iterator it(directory, error); !error && it != fs::directory_iterator();
       it.increment(error)) {
    if (!wanted(it->path())) continue;
    if (const auto identity = identify(it->path())) files[it->path().filename().string()] = *identity;
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
