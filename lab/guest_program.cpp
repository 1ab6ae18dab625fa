// SPDX-License-Identifier: Apache-2.0
#include "lab/guest_program.h"

#include <sys/stat.h>

#include <array>
#include <cstdio>
#include <optional>
#include <string_view>

#include "core/files.h"

namespace vmlane::lab {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxFile = std::size_t{256} << 20;
constexpr std::size_t kAlignment = 4;

void pad(std::string& text) {
  text.resize((text.size() + kAlignment - 1) / kAlignment * kAlignment);
}

// One entry of a "newc" archive: 13 numbers of eight hexadecimal digits after the magic, the name, the
// content.
void append_entry(std::string& archive, const std::string& name, unsigned mode, std::string_view content) {
  static unsigned inode = 0;
  std::array<char, 128> head{};
  std::snprintf(head.data(), head.size(), "070701%08X%08X%08X%08X%08X%08X%08zX%08X%08X%08X%08X%08zX%08X",
                ++inode, mode, 0U, 0U, 1U, 0U, content.size(), 0U, 0U, 0U, 0U, name.size() + 1, 0U);
  archive += head.data();
  archive += name;
  archive += '\0';
  pad(archive);
  archive += content;
  pad(archive);
}

std::string archive_of(const std::string& guest_path, std::string_view program) {
  std::string archive;
  for (std::size_t slash = guest_path.find('/'); slash != std::string::npos;
       slash = guest_path.find('/', slash + 1))
    append_entry(archive, guest_path.substr(0, slash), S_IFDIR | 0755, "");
  append_entry(archive, guest_path, S_IFREG | 0755, program);
  append_entry(archive, "TRAILER!!!", 0, "");
  return archive;
}

Result<std::string> content_of(const fs::path& path) {
  VMLANE_ASSIGN(auto content, read_file(fs::canonical(path), kMaxFile));
  if (!content) return fail(Code::kNotFound, "there is no file " + path.string());
  return std::move(*content);
}

}  // namespace

Result<> add_guest_program(const fs::path& initramfs, const fs::path& program, const std::string& guest_path,
                           const fs::path& output) {
  for (const fs::path& path : {initramfs, program}) {
    std::error_code error;
    if (!fs::exists(path, error)) return fail(Code::kNotFound, "there is no file " + path.string());
  }
  VMLANE_ASSIGN(std::string image, content_of(initramfs));
  VMLANE_ASSIGN(const std::string binary, content_of(program));
  pad(image);
  return write_file_atomically(output, image + archive_of(guest_path, binary),
                               {.mode = 0644, .sync = Sync::kLater});
}

}  // namespace vmlane::lab
