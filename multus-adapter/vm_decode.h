// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/error.h"
#include "core/json.h"
#include "multus-adapter/vm_instance.h"

namespace vmlane::multus {

// Reads the spec of a VirtualMachineInstance, or of a VirtualMachine's template, with KubeVirt's checks: one
// network for each interface of the same name and the other way round, one binding each, usable MAC
// addresses, memory given. Code::kInvalidConfig naming the key. Internal to this room.
Result<> decode_vm_spec(const Json& spec, VirtualMachineInstance& vm);

}  // namespace vmlane::multus
