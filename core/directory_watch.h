// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>

#include "core/error.h"
#include "core/files.h"

namespace vmlane {

// What happens in the directories that switch and keeper learn from: that of the records, and those in which
// QEMU makes its sockets. One descriptor; it tells where to look again, never what is there.
class DirectoryWatch {
 public:
  static Result<DirectoryWatch> create();

  int descriptor() const { return inotify_.get(); }
  // False when the directory is not there, or cannot be looked into.
  bool watch(const std::filesystem::path& directory);
  void unwatch(const std::filesystem::path& directory);
  bool watches(const std::filesystem::path& directory) const { return by_path_.contains(directory); }
  // The directories in which something happened since the last call. One that was removed is no longer
  // watched.
  std::set<std::filesystem::path> changed();

 private:
  explicit DirectoryWatch(Fd inotify) : inotify_(std::move(inotify)) {}

  Fd inotify_;
  std::map<int, std::filesystem::path> by_number_;
  std::map<std::filesystem::path, int> by_path_;
};

}  // namespace vmlane
