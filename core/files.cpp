// SPDX-License-Identifier: Apache-2.0
#include "core/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace vmlane {

namespace fs = std::filesystem;

Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

Fd::~Fd() {
  if (fd_ >= 0) ::close(fd_);
}

Result<std::string> read_all(int fd, std::string_view what, std::size_t max) {
  std::string content;
  std::array<char, 65536> buffer{};
  for (;;) {
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(io_error("cannot read " + std::string(what), errno));
    if (got == 0) return content;
    content.append(buffer.data(), static_cast<std::size_t>(got));
    if (content.size() > max) {
      return fail(Code::kIo,
                  std::string(what) + " is longer than the limit of " + std::to_string(max) + " bytes");
    }
  }
}

Result<std::optional<std::string>> read_file(const fs::path& path, std::size_t max) {
  // O_NONBLOCK so that a FIFO in the file's place cannot hang us; it does nothing for regular files.
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd) {
    if (errno == ENOENT) return std::nullopt;
    if (errno == ELOOP) return fail(Code::kIo, path.string() + " is a symbolic link, expected a file");
    return fail(io_error("cannot open " + path.string(), errno));
  }
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return fail(io_error("cannot stat " + path.string(), errno));
  if (!S_ISREG(info.st_mode)) return fail(Code::kIo, path.string() + " is not a regular file");
  VMLANE_ASSIGN(std::string content, read_all(fd.get(), path.string(), max));
  return content;
}

namespace {

// Of the file at `path`.
Result<> sync_directory_of(const fs::path& path) {
  const fs::path directory = path.has_parent_path() ? path.parent_path() : ".";
  const Fd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd && ::fsync(fd.get()) == 0) return {};
  return fail(io_error("cannot sync directory " + directory.string(), errno));
}

}  // namespace

Result<> sync_file(const fs::path& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd || ::fsync(fd.get()) != 0) return fail(io_error("cannot sync " + path.string(), errno));
  return sync_directory_of(path);
}

Result<> write_file_atomically(const fs::path& path, std::string_view content, const FileMode& mode) {
  const fs::path directory = path.parent_path();
  const fs::path temporary =
      directory / ("." + path.filename().string() + "." + std::to_string(::getpid()) + ".tmp");
  const auto give_up = [&](const char* what) -> std::unexpected<Error> {
    Error error = io_error("cannot " + std::string(what) + " " + path.string(), errno);
    ::unlink(temporary.c_str());
    return fail(std::move(error));
  };
  ::unlink(temporary.c_str());  // of an earlier process with our pid that was killed here
  const Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return fail(io_error("cannot create " + temporary.string(), errno));
  while (!content.empty()) {
    const ssize_t wrote = ::write(fd.get(), content.data(), content.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return give_up("write");
    content.remove_prefix(static_cast<std::size_t>(wrote));
  }
  if (mode.group && ::fchown(fd.get(), static_cast<uid_t>(-1), *mode.group) != 0)
    return give_up("set the group of");
  if (::fchmod(fd.get(), mode.mode) != 0) return give_up("set the mode of");
  if (mode.sync != Sync::kLater && ::fsync(fd.get()) != 0) return give_up("sync");
  if (::rename(temporary.c_str(), path.c_str()) != 0) return give_up("replace");
  return mode.sync == Sync::kFull ? sync_directory_of(path) : Result<>();
}

Result<> check_directory(const fs::path& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return {};
    return fail(io_error("cannot stat " + path.string(), errno));
  }
  if (S_ISDIR(info.st_mode)) return {};
  return fail(Code::kIo, path.string() + " is in the place of a directory",
              "move it away; it is not followed or replaced");
}

Result<> make_directory(const fs::path& path, const FileMode& mode) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0) return check_directory(path);
  if (path.has_parent_path() && path.parent_path() != path) {
    // The parents may be symlinks: /var/run is one on every distribution.
    std::error_code error;
    if (!fs::is_directory(path.parent_path(), error))
      VMLANE_TRY(make_directory(path.parent_path(), {.mode = 0755}));
  }
  if (::mkdir(path.c_str(), mode.mode) != 0) {
    if (errno == EEXIST) return make_directory(path, mode);  // somebody else won the race
    return fail(io_error("cannot create directory " + path.string(), errno));
  }
  // The umask of the caller must not decide who may read the state.
  if (::chmod(path.c_str(), mode.mode) != 0)
    return fail(io_error("cannot set the mode of " + path.string(), errno));
  if (mode.group && ::chown(path.c_str(), static_cast<uid_t>(-1), *mode.group) != 0) {
    return fail(io_error("cannot set the group of " + path.string(), errno));
  }
  return {};
}

Result<> check_writable(const fs::path& directory) {
  VMLANE_TRY(check_directory(directory));
  if (::access(directory.c_str(), W_OK | X_OK) != 0)
    return fail(io_error("cannot write in " + directory.string(), errno));
  struct statvfs room {};
  if (::statvfs(directory.c_str(), &room) != 0)
    return fail(io_error("cannot look at the file system of " + directory.string(), errno));
  // File systems without a limit on one of them say 0 of 0.
  const bool full = (room.f_blocks != 0 && room.f_bavail == 0) || (room.f_files != 0 && room.f_favail == 0);
  if (full) return fail(io_error("cannot write in " + directory.string(), ENOSPC));
  return {};
}

Result<> remove_file(const fs::path& path) {
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return {};
  return fail(io_error("cannot remove " + path.string(), errno));
}

}  // namespace vmlane
