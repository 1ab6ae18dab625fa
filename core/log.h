// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/node_config.h"

namespace vmlane {

// Log file shared by all our programs on a node: one line per event, in one write(2) to an O_APPEND
// descriptor, so that lines of parallel writers do not mix. Rotated before it outgrows its size, kOldFiles
// old files are kept; on a small file system they stay small enough to leave nine tenths of it free. A log
// that cannot be written never fails an operation, and is never a standard stream: only a regular file is
// accepted.
class Log {
 public:
  using Fields = std::vector<std::pair<std::string, std::string>>;

  static constexpr int kOldFiles = 4;

  // Logs nowhere.
  Log() = default;
  // `context` (operation, container, ifname ...) is added to each line.
  Log(const NodeConfig& config, std::string program, Fields context = {});

  void debug(std::string_view message, const Fields& fields = {}) const {
    write(LogLevel::kDebug, message, fields);
  }
  void info(std::string_view message, const Fields& fields = {}) const {
    write(LogLevel::kInfo, message, fields);
  }
  void warning(std::string_view message, const Fields& fields = {}) const {
    write(LogLevel::kWarning, message, fields);
  }
  void error(std::string_view message, const Fields& fields = {}) const {
    write(LogLevel::kError, message, fields);
  }

  // One line of the given format, with its newline. Exposed for tests.
  static std::string line(LogFormat format, LogLevel level, std::string_view time, std::string_view program,
                          std::string_view message, const Fields& context, const Fields& fields);

 private:
  void write(LogLevel level, std::string_view message, const Fields& fields) const;
  // Unless somebody else just did: while the file is larger than `room`, it makes way for a new one.
  void rotate(std::uint64_t room) const;

  std::filesystem::path file_;
  std::string program_;
  Fields context_;
  LogLevel level_ = LogLevel::kInfo;
  LogFormat format_ = LogFormat::kText;
  std::uint64_t max_bytes_ = 0;
};

}  // namespace vmlane
