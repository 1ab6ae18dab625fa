// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cni/request.h"
#include "core/error.h"
#include "core/node_config.h"
#include "multus-adapter/objects.h"

namespace vmlane::multus {

// What vmlane-multus needs of a node whose configuration names no object files, from the agent (contracts.md
// 8.2): the pod that CNI_ARGS speak of and all NetworkAttachmentDefinitions. Code::kTryAgain when no agent
// answers or it does not know the pod (yet).
Result<ObjectStore> resolve_pod(const NodeConfig& config, const cni::CniArgs& args);

// The NetworkAttachmentDefinitions alone.
Result<ObjectStore> agent_networks(const NodeConfig& config);

}  // namespace vmlane::multus
