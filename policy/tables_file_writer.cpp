// SPDX-License-Identifier: Apache-2.0
#include "policy/tables_file_writer.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

namespace vmlane::policy {

namespace fs = std::filesystem;

TablesFileWriter::TablesFileWriter(fs::path file, FileMode mode) : file_(std::move(file)), mode_(mode) {}

fs::path TablesFileWriter::spare() const {
  return file_.parent_path() / ("." + file_.filename().string() + ".spare");
}

Result<> TablesFileWriter::write(TablesFileParts parts, const std::vector<Phase>* changes) {
  if (changes == nullptr) {
    // The spare of an earlier block is of no use, an earlier writer's of no use at all.
    has_spare_ = false;
    stale_.clear();
    VMLANE_TRY(remove_file(spare()));
    return write_file_atomically(file_, tables_file_content(std::move(parts)), mode_);
  }
  std::set<std::uint32_t> changed;
  for (const Phase& phase : *changes) {
    for (const Line& line : phase) changed.insert(line.offset);
  }
  stale_.insert(changed.begin(), changed.end());
  if (!has_spare_ || !update_spare(parts)) {
    has_spare_ = false;
    VMLANE_TRY(write_file_atomically(spare(), tables_file_content(std::move(parts)), mode_));
  }
  VMLANE_TRY(exchange());
  has_spare_ = true;
  stale_ = std::move(changed);  // what the other one lacks
  return {};
}

bool TablesFileWriter::update_spare(const TablesFileParts& parts) {
  const Fd fd(::open(spare().c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  struct stat info {};
  if (!fd || ::fstat(fd.get(), &info) != 0) return false;
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return false;  // a reader has it yet
  const auto size = static_cast<std::size_t>(info.st_size);
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (memory == MAP_FAILED) return false;
  auto* bytes = static_cast<char*>(memory);
  auto* header = static_cast<TablesFileHeader*>(memory);
  header->generation = parts.generation;
  const auto* block = reinterpret_cast<const char*>(parts.block.data());
  for (const std::uint32_t line : stale_)
    std::memcpy(bytes + header->tables_offset + line, block + line, VMLANE_POLICY_LINE);
  ::munmap(memory, size);
  return true;
}

Result<> TablesFileWriter::exchange() {
  if (::renameat2(AT_FDCWD, spare().c_str(), AT_FDCWD, file_.c_str(), RENAME_EXCHANGE) == 0) return {};
  Error error = io_error("cannot replace " + file_.string(), errno);
  has_spare_ = false;
  return fail(std::move(error));
}

}  // namespace vmlane::policy
