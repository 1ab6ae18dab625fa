// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "core/address.h"
#include "core/error.h"
#include "core/exec.h"
#include "core/node_config.h"
#include "multus-adapter/objects.h"
#include "multus-adapter/pod_runner.h"
#include "multus-adapter/pod_state.h"

// The part of ADD that changes nothing: which networks a pod gets, under which names, with which
// configurations. Internal to this room.
namespace vmlane::multus {

struct PlannedAttachment {
  AttachmentState state;
  std::vector<IpAddress> default_route;
};

// Everything of the pod resolved and checked, but for what is in its namespace already.
Result<std::vector<PlannedAttachment>> plan_pod(const NodeConfig& config, const MultusSettings& settings,
                                                PluginExec& exec, const ObjectStore& objects, const Pod& pod,
                                                const Sandbox& sandbox);

// Refuses a plan that uses a network name with other settings than another NetworkAttachmentDefinition of the
// plan or of the running attachments. Code::kConflict naming both objects and the keys.
Result<> check_network_names(const std::vector<PlannedAttachment>& plan,
                             const std::vector<PodState>& running);

// Directories to search for plugins: ours, then the runtime's.
std::string plugin_path(const MultusSettings& settings, const Environment& env);

}  // namespace vmlane::multus
