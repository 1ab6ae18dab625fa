// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "cni/request.h"
#include "core/error.h"
#include "core/log.h"
#include "core/node_config.h"
#include "core/record.h"

namespace vmlane::cni {

// Whose NIC a call is about. The best source is the pod's facts, `<runDir>/pods/<uid>.json` (schema 1:
// namespace, name, vm {name}, migration {uid, role}), written by the agent, the lab or vmlane-multus; the
// call waits for them up to `podFactsTimeout`, and only while an agent listens on `<runDir>/agent.sock`.
// Without facts CNI_ARGS name the pod, and the VM is read from the name of KubeVirt's launcher pod. Without
// either all members are empty. An uid that cannot be a file's name is Code::kBadEnvironment; facts that
// cannot be read are logged and do without.
Result<PodIdentity> identify_pod(const Request& request, const NodeConfig& config, const Log& log);

// The VM in "virt-launcher-<vm>-<5 characters>"; empty for another name, and for one so long that the API
// server may have cut the VM's name to make it fit.
std::string_view vm_of_launcher(std::string_view pod_name);

}  // namespace vmlane::cni
