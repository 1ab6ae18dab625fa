// SPDX-License-Identifier: Apache-2.0
#include "policy/tables_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace vmlane::policy {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kAlignment = VMLANE_POLICY_LINE;

std::uint64_t aligned(std::uint64_t offset) {
  return (offset + kAlignment - 1) / kAlignment * kAlignment;
}

std::string_view id_of(const AttachedEndpoint& attachment) {
  return {attachment.id.data(), attachment.id.size()};
}

}  // namespace

std::string tables_file_name() {
  return "tables." + std::to_string(VMLANE_POLICY_MAJOR);
}

std::string policy_names_text(const std::vector<PolicyName>& policies) {
  Json names = Json::array();
  for (const PolicyName& policy : policies) names.push_back({policy.kind, policy.id});
  return to_text(names);
}

std::string tables_file_content(TablesFileParts parts) {
  std::ranges::sort(parts.attachments, {}, id_of);
  TablesFileHeader header;
  header.generation = parts.generation;
  header.tables_offset = aligned(sizeof(header));
  header.tables_size = parts.block.size_bytes();
  header.attachments_offset = aligned(header.tables_offset + header.tables_size);
  header.attachments_count = parts.attachments.size();
  header.names_offset = header.attachments_offset + parts.attachments.size() * sizeof(AttachedEndpoint);
  header.names_size = parts.names.size();
  std::string content(header.names_offset, '\0');
  std::memcpy(content.data(), &header, sizeof(header));
  const auto put = [&content](std::uint64_t offset, const void* from, std::size_t size) {
    if (size > 0) std::memcpy(content.data() + offset, from, size);
  };
  put(header.tables_offset, parts.block.data(), parts.block.size_bytes());
  put(header.attachments_offset, parts.attachments.data(),
      parts.attachments.size() * sizeof(AttachedEndpoint));
  return content + parts.names;
}

Result<std::optional<TablesFile>> TablesFile::map(const fs::path& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd && errno == ENOENT) return std::nullopt;
  struct stat info {};
  if (!fd || ::fstat(fd.get(), &info) != 0) return fail(io_error("cannot open " + path.string(), errno));
  const auto wrong = [&] {
    return fail(Code::kDecode, path.string() + " is no file of policy tables of version " +
                                   std::to_string(VMLANE_POLICY_MAJOR));
  };
  const auto size = static_cast<std::size_t>(info.st_size);
  if (!S_ISREG(info.st_mode) || size < sizeof(TablesFileHeader)) return wrong();
  if (::flock(fd.get(), LOCK_SH | LOCK_NB) != 0)
    return fail(Code::kTryAgain, path.string() + " is being written");
  const void* base = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (base == MAP_FAILED) return fail(io_error("cannot map " + path.string(), errno));
  TablesFile file(std::move(fd), static_cast<const char*>(base), size);
  if (!file.valid()) return wrong();
  return std::optional<TablesFile>(std::move(file));
}

TablesFile::TablesFile(TablesFile&& other) noexcept
    : fd_(std::move(other.fd_)), base_(std::exchange(other.base_, nullptr)), size_(other.size_) {}

TablesFile::~TablesFile() {
  if (base_ != nullptr) ::munmap(const_cast<char*>(base_), size_);
}

bool TablesFile::valid() const {
  const TablesFileHeader& head = header();
  if (head.magic != TablesFileHeader::kMagic || head.major != VMLANE_POLICY_MAJOR) return false;
  const auto inside = [this](std::uint64_t offset, std::uint64_t size) {
    return offset <= size_ && size <= size_ - offset;
  };
  const bool fits = head.attachments_count <= size_ / sizeof(AttachedEndpoint) &&
                    inside(head.tables_offset, head.tables_size) &&
                    inside(head.attachments_offset, head.attachments_count * sizeof(AttachedEndpoint)) &&
                    inside(head.names_offset, head.names_size) && head.tables_size <= UINT32_MAX;
  return fits && head.tables_offset % kAlignment == 0 && head.attachments_offset % kAlignment == 0;
}

vmlane_policy_tables TablesFile::tables() const {
  return {base_ + header().tables_offset, static_cast<std::uint32_t>(header().tables_size)};
}

std::span<const AttachedEndpoint> TablesFile::attachments() const {
  return {reinterpret_cast<const AttachedEndpoint*>(base_ + header().attachments_offset),
          static_cast<std::size_t>(header().attachments_count)};
}

const AttachedEndpoint* TablesFile::find(const std::string& attachment_id) const {
  const auto all = attachments();
  const auto found = std::ranges::lower_bound(all, std::string_view(attachment_id), {}, id_of);
  return found != all.end() && id_of(*found) == attachment_id ? &*found : nullptr;
}

Result<std::vector<PolicyName>> TablesFile::policies() const {
  const std::string_view text(base_ + header().names_offset, static_cast<std::size_t>(header().names_size));
  const Json names = Json::parse(text, nullptr, false);  // may be longer than parse_json takes
  std::vector<PolicyName> policies;
  for (const Json& name : names) {
    const bool valid = name.is_array() && name.size() == 2 && name[0].is_string() && name[1].is_string();
    if (!valid) return fail(Code::kDecode, "the names in the file of policy tables cannot be read");
    policies.push_back({name[0].get<std::string>(), name[1].get<std::string>()});
  }
  return policies;
}

}  // namespace vmlane::policy
