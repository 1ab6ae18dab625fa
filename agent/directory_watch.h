// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "core/error.h"
#include "core/files.h"

namespace vmlane::agent {

// Says when files of a directory may have changed (inotify). What changed is for the caller to look up:
// events get lost, and names come and go while they are read.
class DirectoryWatch {
 public:
  // The directory need not be there yet.
  static Result<DirectoryWatch> open(std::filesystem::path directory);

  // Readable when drain() has something to say.
  int fd() const { return fd_.get(); }
  // Takes all events; whether there were any.
  bool drain();
  // Watches what has the directory's name now: it may have been made, or replaced by another. Whether that is
  // another one than before. Costs a system call: for a timer.
  bool follow_name();
  // Whether there is a directory of that name to watch.
  bool watching() const { return watch_ >= 0; }
  const std::filesystem::path& directory() const { return directory_; }

 private:
  DirectoryWatch(Fd fd, std::filesystem::path directory)
      : fd_(std::move(fd)), directory_(std::move(directory)) {}

  Fd fd_;
  std::filesystem::path directory_;
  int watch_ = -1;
};

// By what a file is known to be the same with the same content.
struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
  std::int64_t modified = 0;  // nanoseconds
  std::int64_t changed = 0;
  bool operator==(const FileIdentity&) const = default;
};

using FileList = std::map<std::string, FileIdentity>;

// The regular files of a directory whose names satisfy `wanted`, symbolic links followed. One that goes
// meanwhile is left out. Errors name the directory.
Result<FileList> list_files(const std::filesystem::path& directory,
                            const std::function<bool(const std::filesystem::path&)>& wanted);

// Whether somebody has the file open for writing; false where the file system cannot tell. The caller's
// thread must not die of SIGIO (it is what the kernel sends to whom it asks).
bool is_being_written(const std::filesystem::path& file);

}  // namespace vmlane::agent
