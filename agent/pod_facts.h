// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "agent/cluster.h"
#include "core/node_config.h"
#include "core/record.h"

namespace vmlane::agent {

// The facts about this node's pods, `<runDir>/pods/<uid>.json` (contracts.md 2.3), which plugins wait for.
// Each file carries `"writer": "vmlane-agent"`. A file goes when its pod's object is gone and the pod has no
// attachment any more; what vmlane-multus or the lab wrote is theirs to remove.
class PodFacts {
 public:
  explicit PodFacts(const NodeConfig& config) : config_(config) {}

  // Writes them when they are new, have changed, or their file has gone.
  Result<> write(const multus::Pod& pod);
  // Removes what nobody needs.
  void remove_others(const std::map<std::string, multus::Pod>& pods,
                     const std::map<std::string, AttachmentRecord>& records);

 private:
  const NodeConfig& config_;
  std::map<std::string, std::string> written_;  // content by uid
};

}  // namespace vmlane::agent
