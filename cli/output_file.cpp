// SPDX-License-Identifier: Apache-2.0
#include "cli/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace vmlane::cli {

Result<OutputFile> OutputFile::open(std::filesystem::path path) {
  constexpr mode_t kMode = 0666;  // less the caller's umask
  constexpr int kTries = 2;       // somebody may make or remove it in between
  for (int i = 0; i < kTries; i++) {
    Fd made(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kMode));
    if (made) return OutputFile(std::move(path), std::move(made), true);
    if (errno != EEXIST) break;
    Fd there(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (there) return OutputFile(std::move(path), std::move(there), false);
    if (errno != ENOENT) break;
  }
  return fail(io_error("cannot write " + path.string(), errno));
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::move(other.fd_)), made_(std::exchange(other.made_, false)) {}

OutputFile::~OutputFile() {
  if (made_) ::unlink(path_.c_str());
}

Result<> OutputFile::begin() {
  made_ = false;
  struct stat status {};
  if (::fstat(fd_.get(), &status) != 0 || (S_ISREG(status.st_mode) && ::ftruncate(fd_.get(), 0) != 0))
    return fail(io_error("cannot empty " + path_.string(), errno));
  return {};
}

Result<> OutputFile::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail(io_error("cannot write " + path_.string(), errno));
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

}  // namespace vmlane::cli
