// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "core/error.h"
#include "core/files.h"

namespace vmlane::agent {

// What may have changed in a directory since the last look.
struct DirectoryEvents {
  bool everything = false;      // events were lost, or the directory itself is another one
  std::set<std::string> names;  // of files; they may be gone again by now
};

// Says which files of a directory may have changed (inotify). How they are now is for the caller to look up:
// names come and go while they are read.
class DirectoryWatch {
 public:
  // The directory need not be there yet.
  static Result<DirectoryWatch> open(std::filesystem::path directory);

  // Readable when drain() has something to say.
  int fd() const { return fd_.get(); }
  // Takes all events, and watches what has the directory's name now: it may have been made, or replaced by
  // another. The first call says `everything`.
  DirectoryEvents drain();
  // Whether there is a directory of that name to watch.
  bool watching() const { return watch_ >= 0; }
  const std::filesystem::path& directory() const { return directory_; }

 private:
  DirectoryWatch(Fd fd, std::filesystem::path directory)
      : fd_(std::move(fd)), directory_(std::move(directory)) {}

  // Whether the name leads to another directory than before.
  bool follow_name();

  Fd fd_;
  std::filesystem::path directory_;
  int watch_ = -1;
  bool drained_ = false;
};

// By what a file is known to be the same with the same content.
struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
  std::int64_t modified = 0;  // nanoseconds
  std::int64_t changed = 0;
  // It may change with no event in the directory: the name is a symbolic link, or the file has another name.
  bool linked = false;
  bool operator==(const FileIdentity&) const = default;
};

using FileList = std::map<std::string, FileIdentity>;

// Of a regular file, symbolic links followed; nothing when there is none of that name.
std::optional<FileIdentity> identify(const std::filesystem::path& file);

// The regular files of a directory whose names satisfy `wanted`, symbolic links followed. One that goes
// meanwhile is left out. Errors name the directory.
Result<FileList> list_files(const std::filesystem::path& directory,
                            const std::function<bool(const std::filesystem::path&)>& wanted);

// Whether somebody has the file open for writing; false where the file system cannot tell. The caller's
// thread must not die of SIGIO (it is what the kernel sends to whom it asks).
bool is_being_written(const std::filesystem::path& file);

}  // namespace vmlane::agent
