// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "policy/store.h"

namespace vmlane::policy {

// `<runDir>/policy/tables.<major>`: the tables of one generation as the agent publishes them for readers
// outside the kernel (contracts.md 3.6). A generation is another file of that name: a reader maps it and
// looks for another one when the name leads elsewhere. It holds a shared lock (flock) on a file for as long
// as it has it mapped; a file that has lost the name and that nobody holds is written again for a later
// generation (tables_file_writer.h). Numbers are little-endian; parts start at multiples of 64 bytes: this
// header, the block that verdict.h describes, the attachments, and the names as JSON.
struct TablesFileHeader {
  static constexpr std::array<char, 8> kMagic = {'v', 'm', 'l', 'p', 'o', 'l', '1', '\n'};

  std::array<char, 8> magic = kMagic;
  std::uint32_t major = VMLANE_POLICY_MAJOR;  // of the block
  std::uint32_t minor = VMLANE_POLICY_MINOR;
  std::uint64_t generation = 0;
  std::uint64_t tables_offset = 0;
  std::uint64_t tables_size = 0;
  std::uint64_t attachments_offset = 0;
  std::uint64_t attachments_count = 0;
  std::uint64_t names_offset = 0;
  std::uint64_t names_size = 0;
};

// Which endpoint of the tables an attachment is; sorted by id in the file. An attachment that is not there
// has not been judged: its default verdict counts.
struct AttachedEndpoint {
  std::array<char, 32> id{};   // the attachment's
  std::uint32_t endpoint = 0;  // number in the block
  std::uint32_t network = 0;   // number of the policy network, for vmlane_policy_find_peer()
  std::array<std::uint32_t, 6> reserved{};
};
static_assert(sizeof(AttachedEndpoint) == 64);

// "tables.1".
std::string tables_file_name();

// What a file is made of. The attachments need not be sorted.
struct TablesFileParts {
  std::uint64_t generation = 0;
  std::span<const std::uint64_t> block;
  std::vector<AttachedEndpoint> attachments;
  std::string names;  // policy_names_text()
};
std::string tables_file_content(TablesFileParts parts);
// Names of policies by number as the file has them.
std::string policy_names_text(const std::vector<PolicyName>& policies);

// A mapped file, with the lock on it. Every offset has been checked; what the block says is checked by
// verdict.h as it is read.
class TablesFile {
 public:
  // No value when there is none. Code::kDecode for a file of another form or major version, Code::kTryAgain
  // for one that is written just now: another has its name in a moment.
  static Result<std::optional<TablesFile>> map(const std::filesystem::path& path);
  TablesFile(TablesFile&& other) noexcept;
  TablesFile& operator=(TablesFile&&) = delete;
  ~TablesFile();

  std::uint64_t generation() const { return header().generation; }
  vmlane_policy_tables tables() const;
  std::span<const AttachedEndpoint> attachments() const;
  const AttachedEndpoint* find(const std::string& attachment_id) const;
  // The policies by their numbers.
  Result<std::vector<PolicyName>> policies() const;

 private:
  TablesFile(Fd fd, const char* base, std::size_t size) : fd_(std::move(fd)), base_(base), size_(size) {}
  const TablesFileHeader& header() const { return *reinterpret_cast<const TablesFileHeader*>(base_); }
  bool valid() const;

  Fd fd_;  // holds the lock
  const char* base_;
  std::size_t size_;
};

}  // namespace vmlane::policy
