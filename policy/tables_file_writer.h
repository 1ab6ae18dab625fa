// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <vector>

#include "core/error.h"
#include "core/files.h"
#include "policy/tables_file.h"

namespace vmlane::policy {

// Writes the file of tables_file.h, generation after generation. Two files take turns: the one that has lost
// the name is brought up to date by the lines that changed since it was in force, if no reader holds it any
// more, and exchanged with the other. So a generation costs what it changes; where that cannot be done, it
// costs a whole file. A reader sees the one or the other, whole. What an earlier writer left is replaced.
class TablesFileWriter {
 public:
  TablesFileWriter(std::filesystem::path file, FileMode mode);

  // `changes` are the phases that lead from the generation before to this one; nullptr when its block is
  // another one, or its attachments or names are others. After an error the file that has the name is the one
  // before.
  Result<> write(TablesFileParts parts, const std::vector<Phase>* changes);

 private:
  std::filesystem::path spare() const;
  // Whether the spare could be brought up to date; it is not exchanged yet.
  bool update_spare(const TablesFileParts& parts);
  Result<> exchange();

  std::filesystem::path file_;
  FileMode mode_;
  bool has_spare_ = false;
  std::set<std::uint32_t> stale_;  // lines in which the spare differs from the block
};

}  // namespace vmlane::policy
