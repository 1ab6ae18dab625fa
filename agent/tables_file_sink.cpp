// SPDX-License-Identifier: Apache-2.0
#include "agent/tables_file_sink.h"

#include <algorithm>

#include "core/files.h"
#include "policy/tables_file.h"

namespace vmlane::agent {

TablesFileSink::TablesFileSink(const NodeConfig& config)
    : file_(config.policy_dir() / policy::tables_file_name()), group_(config.vmlane_gid) {}

Result<> TablesFileSink::publish(const Generation& generation) {
  std::vector<policy::AttachedEndpoint> attached;
  for (const JudgedAttachment& attachment : generation.attachments) {
    policy::AttachedEndpoint& entry =
        attached.emplace_back(policy::AttachedEndpoint{.id = {}, .endpoint = attachment.endpoint});
    entry.network = attachment.network;
    std::ranges::copy(attachment.record.key.id(), entry.id.begin());
  }
  VMLANE_TRY(make_directory(file_.parent_path(), {.mode = 0750, .group = group_}));
  const std::string content = policy::tables_file_content({.generation = generation.number,
                                                           .block = generation.tables.block,
                                                           .attachments = std::move(attached),
                                                           .policies = generation.policies});
  return write_file_atomically(file_, content, {.mode = 0640, .group = group_, .sync = Sync::kLater});
}

std::uint64_t TablesFileSink::published() {
  const auto file = policy::TablesFile::map(file_);
  return file && *file ? (*file)->generation() : 0;
}

}  // namespace vmlane::agent
