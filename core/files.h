// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"

namespace vmlane {

// Owns a file descriptor.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept;
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd();

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

// Reads everything a descriptor gives, `max` bytes at most; more is Code::kIo.
Result<std::string> read_all(int fd, std::string_view what, std::size_t max);

// The content of a regular file, not following a symlink in the last component. No value when it does not
// exist. A file that is a symlink, directory, device or FIFO, or longer than `max`, is Code::kIo naming the
// path.
Result<std::optional<std::string>> read_file(const std::filesystem::path& path,
                                             std::size_t max = std::size_t{4} << 20);

// What of a written file survives a loss of power. The kernel keeps order either way: a reader sees the old
// content or the new.
enum class Sync {
  kFull,     // content and name
  kContent,  // content; the name may still lead to the old file, which must serve as well
  kLater,    // nothing yet: sync_file() follows
};

struct FileMode {
  mode_t mode = 0640;
  std::optional<gid_t> group;  // left as it is when unset
  Sync sync = Sync::kFull;
};

// Replaces a file so that a reader, or a machine that lost power, sees the old content or the new and nothing
// between: temporary file in the same directory, fsync, rename, fsync of the directory, as far as `mode.sync`
// asks for it. Nothing is left behind on failure.
Result<> write_file_atomically(const std::filesystem::path& path, std::string_view content,
                               const FileMode& mode = {});

// Makes the content and name of a file that was written with Sync::kLater survive a loss of power.
Result<> sync_file(const std::filesystem::path& path);

// Makes a directory and its parents; existing ones are left as they are. Refuses a symlink or file in the
// place of the last.
Result<> make_directory(const std::filesystem::path& path, const FileMode& mode = {.mode = 0750});

// Refuses a symlink or file in the place of a directory, as make_directory does, but makes nothing: one that
// is not there is success. Asked before a file in it is read or removed, which would follow the symlink.
Result<> check_directory(const std::filesystem::path& path);

// Whether a file could be made in an existing directory: it is no symlink, its file system is writable and
// has room. Writes nothing. Errors name the directory.
Result<> check_writable(const std::filesystem::path& directory);

// Removes a file or symlink (never what it points to); gone already is success.
Result<> remove_file(const std::filesystem::path& path);

}  // namespace vmlane
