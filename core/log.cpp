// SPDX-License-Identifier: Apache-2.0
#include "core/log.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "core/clock.h"
#include "core/files.h"
#include "core/json.h"

namespace vmlane {
namespace {

constexpr std::array<std::string_view, 4> kLevelNames = {"debug", "info", "warning", "error"};
static_assert(kLevelNames.size() == static_cast<std::size_t>(LogLevel::kError) + 1);

// A line longer than this is cut: a config echoed into an error must not fill the log.
constexpr std::size_t kMaxLine = 8192;

// key=value, quoted as JSON does when the value would be ambiguous.
std::string text_value(const std::string& value) {
  const bool plain = !value.empty() && value.find_first_of(" \t\r\n\"\\=") == std::string::npos;
  return plain ? value : to_text(Json(value));
}

Fd open_log(const std::filesystem::path& file) {
  Fd fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0640));
  struct stat info {};
  if (!fd || ::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) return {};
  return fd;
}

// What one file may grow to: the configured size, but on a small file system (a memory file system, say) all
// files together take a tenth of it at most. Rotating at a size above the file system's would fill it.
std::uint64_t size_limit(int fd, std::uint64_t configured) {
  struct statvfs system {};
  if (::fstatvfs(fd, &system) != 0 || system.f_blocks == 0) return configured;
  constexpr std::uint64_t kShare = 10 * (1 + Log::kOldFiles);
  return std::min<std::uint64_t>(configured, std::uint64_t{system.f_blocks} * system.f_frsize / kShare);
}

}  // namespace

Log::Log(const NodeConfig& config, std::string program, Fields context)
    : file_(config.log_file),
      program_(std::move(program)),
      context_(std::move(context)),
      level_(config.log_level),
      format_(config.log_format),
      max_bytes_(config.log_max_bytes) {}

std::string Log::line(LogFormat format, LogLevel level, std::string_view time, std::string_view program,
                      std::string_view message, const Fields& context, const Fields& fields) {
  const std::string_view level_name = kLevelNames[static_cast<std::size_t>(level)];
  std::string out;
  if (format == LogFormat::kJson) {
    nlohmann::ordered_json json = {
        {"time", time}, {"level", level_name}, {"program", program}, {"message", message}};
    for (const auto& [key, value] : context) json[key] = value;
    for (const auto& [key, value] : fields) json[key] = value;
    out = json.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (out.size() > kMaxLine) {  // a cut JSON line would not parse
      out = nlohmann::ordered_json{{"time", time},
                                   {"level", level_name},
                                   {"program", program},
                                   {"message", message.substr(0, 1024)},
                                   {"cut", true}}
                .dump(-1, ' ', false, Json::error_handler_t::replace);
    }
  } else {
    out = std::string(time) + " " + std::string(level_name) + " " + std::string(program) + " " +
          to_text(Json(message));
    for (const auto& [key, value] : context) out += " " + key + "=" + text_value(value);
    for (const auto& [key, value] : fields) out += " " + key + "=" + text_value(value);
    if (out.size() > kMaxLine) out = out.substr(0, kMaxLine) + "...";
  }
  return out + "\n";
}

void Log::write(LogLevel level, std::string_view message, const Fields& fields) const {
  if (file_.empty() || level < level_) return;
  if (!make_directory(file_.parent_path(), {.mode = 0750})) return;
  Fd fd = open_log(file_);
  if (!fd) return;
  const std::string text = line(format_, level, utc_now(), program_, message, context_, fields);
  const std::uint64_t limit = size_limit(fd.get(), max_bytes_);
  struct stat info {};
  if (::fstat(fd.get(), &info) == 0 && info.st_size > 0 &&
      static_cast<std::uint64_t>(info.st_size) + text.size() > limit) {
    rotate(limit < text.size() ? 0 : limit - text.size());
    fd = open_log(file_);
    // Something keeps it from rotating (a directory in an old file's place, an append-only file): the disk
    // matters more than the line.
    const bool stuck =
        fd && ::fstat(fd.get(), &info) == 0 && static_cast<std::uint64_t>(info.st_size) > 2 * limit;
    if (!fd || stuck) return;
  }
  [[maybe_unused]] const ssize_t wrote = ::write(fd.get(), text.data(), text.size());
}

void Log::rotate(std::uint64_t room) const {
  const std::string base = file_.string();
  const Fd guard(::open((base + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  // Whoever holds the lock is rotating already; a line more in the old file does no harm.
  if (!guard || ::flock(guard.get(), LOCK_EX | LOCK_NB) != 0) return;
  struct stat info {};
  if (::lstat(base.c_str(), &info) != 0 || static_cast<std::uint64_t>(info.st_size) <= room) return;
  for (int i = kOldFiles; i > 0; i--) {
    const std::string from = i == 1 ? base : base + "." + std::to_string(i - 1);
    ::rename(from.c_str(), (base + "." + std::to_string(i)).c_str());
  }
}

}  // namespace vmlane
