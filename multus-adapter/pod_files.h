// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "core/node_config.h"
#include "multus-adapter/objects.h"
#include "multus-adapter/pod_state.h"

// The files by which others learn of a pod and its networks.
namespace vmlane::multus {

// Pod facts, `<runDir>/pods/<pod uid>.json`: who the pod is, for plugins and policy.
Json pod_facts(const Pod& pod);
Result<> write_pod_facts(const NodeConfig& config, const Pod& pod);

// The value of the network-status annotation (multi-network specification 1.3, section 5) for these
// attachments: one entry for each interface of a result that has a sandbox.
Result<Json> network_status(const std::vector<AttachmentState>& attachments);
// Network status, `<runDir>/network-status/<pod uid>.json`.
Result<> write_network_status(const NodeConfig& config, const std::string& pod_uid, const Json& status);

// Either of these files: `content` as `<directory>/<uid>.json`.
Result<> write_pod_file(const NodeConfig& config, const std::filesystem::path& directory,
                        const std::string& uid, const Json& content);

// Takes both away; gone already is success.
Result<> remove_pod_files(const NodeConfig& config, const std::string& pod_uid);

}  // namespace vmlane::multus
