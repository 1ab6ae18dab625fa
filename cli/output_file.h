// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string_view>

#include "core/error.h"
#include "core/files.h"

namespace vmlane::cli {

// A file that a command writes what it gets bit by bit: opened before the command asks anybody for anything,
// so that a path of no use is told at once, and emptied only when there is something to be had. Until then
// what was in the file stays, and a file that was not there is taken away again.
class OutputFile {
 public:
  static Result<OutputFile> open(std::filesystem::path path);
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();

  // From here on the file is the command's. A pipe or a device is taken as it is.
  Result<> begin();
  Result<> write(std::string_view bytes);

 private:
  OutputFile(std::filesystem::path path, Fd fd, bool made)
      : path_(std::move(path)), fd_(std::move(fd)), made_(made) {}

  std::filesystem::path path_;
  Fd fd_;
  bool made_ = false;  // here, and not begun
};

}  // namespace vmlane::cli
