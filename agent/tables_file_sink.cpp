// SPDX-License-Identifier: Apache-2.0
#include "agent/tables_file_sink.h"

#include <algorithm>
#include <cstring>

#include "core/files.h"
#include "policy/tables_file.h"

namespace vmlane::agent {

TablesFileSink::TablesFileSink(const NodeConfig& config)
    : file_(config.policy_dir() / policy::tables_file_name()),
      group_(config.vmlane_gid),
      writer_(file_, {.mode = 0640, .group = group_, .sync = Sync::kLater}) {}

Result<> TablesFileSink::publish(const Generation& generation) {
  const std::uint64_t version = generation.store.policies_version();
  const bool whole =
      whole_ || generation.tables.whole || generation.attachments_changed || version != names_version_;
  whole_ = true;
  if (version != names_version_ || names_.empty())
    names_ = policy::policy_names_text(generation.store.policies());
  names_version_ = version;
  std::vector<policy::AttachedEndpoint> attached;
  for (const JudgedAttachment& attachment : generation.attachments) {
    policy::AttachedEndpoint& entry =
        attached.emplace_back(policy::AttachedEndpoint{.id = {}, .endpoint = attachment.endpoint});
    entry.network = attachment.network;
    std::ranges::copy(attachment.record.key.id(), entry.id.begin());
  }
  VMLANE_TRY(make_directory(file_.parent_path(), {.mode = 0750, .group = group_}));
  VMLANE_TRY(writer_.write({.generation = generation.number,
                            .block = generation.tables.block,
                            .attachments = std::move(attached),
                            .names = names_},
                           whole ? nullptr : &generation.tables.phases));
  whole_ = false;
  return {};
}

bool TablesFileSink::holds(const Generation& generation) {
  if (whole_) return true;  // the next one is whole as it is
  const auto file = policy::TablesFile::map(file_);
  if (!file && file.error().code == Code::kTryAgain) return true;
  const auto same = [&] {
    if (!file || !*file || (*file)->generation() != generation.number) return false;
    const vmlane_policy_tables tables = (*file)->tables();
    const std::span block = generation.tables.block;
    return tables.size == block.size_bytes() && std::memcmp(tables.base, block.data(), tables.size) == 0 &&
           (*file)->attachments().size() == generation.attachments.size();
  };
  whole_ = !same();
  return !whole_;
}

std::uint64_t TablesFileSink::published() {
  const auto file = policy::TablesFile::map(file_);
  return file && *file ? (*file)->generation() : 0;
}

}  // namespace vmlane::agent
