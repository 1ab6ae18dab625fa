// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "agent/join.h"
#include "core/node_config.h"

namespace vmlane::agent {

// What the agent found out about attachments whose record does not say it, `<stateDir>/agent/<id>.json`
// (contracts.md 2.1, 2.2): schema 1, pod, nad. Only plugins write records.
class LearnedFiles {
 public:
  explicit LearnedFiles(const NodeConfig& config) : config_(config) {}

  // Writes what is new and removes what is of no attachment any more. One error for each file that could not
  // be written.
  std::vector<Error> update(const std::map<std::string, Attachment>& attachments);

 private:
  const NodeConfig& config_;
  std::map<std::string, std::string> written_;  // content by attachment id
};

}  // namespace vmlane::agent
