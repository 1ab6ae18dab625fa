// SPDX-License-Identifier: Apache-2.0
#include "core/directory_watch.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace vmlane {

Result<DirectoryWatch> DirectoryWatch::create() {
  Fd inotify(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!inotify) return fail(kernel_error("cannot watch directories", errno));
  return DirectoryWatch(std::move(inotify));
}

bool DirectoryWatch::watch(const std::filesystem::path& directory) {
  if (watches(directory)) return true;
  constexpr std::uint32_t kEvents =
      IN_CREATE | IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE | IN_ATTRIB | IN_ONLYDIR;
  const int number = ::inotify_add_watch(inotify_.get(), directory.c_str(), kEvents);
  if (number < 0) return false;
  by_number_[number] = directory;
  by_path_[directory] = number;
  return true;
}

void DirectoryWatch::unwatch(const std::filesystem::path& directory) {
  const auto found = by_path_.find(directory);
  if (found == by_path_.end()) return;
  ::inotify_rm_watch(inotify_.get(), found->second);
  by_number_.erase(found->second);
  by_path_.erase(found);
}

std::set<std::filesystem::path> DirectoryWatch::changed() {
  std::set<std::filesystem::path> directories;
  alignas(inotify_event) std::array<char, 16384> buffer;
  for (;;) {
    const ssize_t got = ::read(inotify_.get(), buffer.data(), buffer.size());
    if (got <= 0) return directories;
    for (ssize_t at = 0; at < got;) {
      inotify_event event{};
      std::memcpy(&event, buffer.data() + at, sizeof event);
      at += static_cast<ssize_t>(sizeof event + event.len);
      if ((event.mask & IN_Q_OVERFLOW) != 0) {
        for (const auto& [path, number] : by_path_) directories.insert(path);
      }
      const auto found = by_number_.find(event.wd);
      if (found == by_number_.end()) continue;
      directories.insert(found->second);
      if ((event.mask & IN_IGNORED) == 0) continue;
      by_path_.erase(found->second);
      by_number_.erase(found);
    }
  }
}

}  // namespace vmlane
