// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "agent/policy_sink.h"
#include "core/node_config.h"
#include "policy/tables_file_writer.h"

namespace vmlane::agent {

// `<runDir>/policy/tables.<major>` (policy/tables_file.h), for readers outside the kernel: mode 0640, group
// vmlaneGid.
class TablesFileSink final : public PolicySink {
 public:
  explicit TablesFileSink(const NodeConfig& config);
  std::string name() const override { return file_.string(); }
  Result<> publish(const Generation& generation) override;
  bool holds(const Generation& generation) override;
  std::uint64_t published() override;

 private:
  std::filesystem::path file_;
  gid_t group_;
  policy::TablesFileWriter writer_;
  std::string names_;
  std::uint64_t names_version_ = 0;
  bool whole_ = true;  // what is in force is not what the next difference is about
};

}  // namespace vmlane::agent
