// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "multus-adapter/objects.h"

// What KubeVirt's controller does for the network of a VM: it makes a virt-launcher pod whose annotations ask
// for the VM's networks.
namespace vmlane::multus {

// The interface in the launcher pod that belongs to a network of the VM: eth0 for the pod network and a
// default Multus network, else pod<11 hex> (names::kubevirt_pod_ifname).
std::string pod_ifname(const VmNetwork& network);

// The pod KubeVirt would make for the VM: name virt-launcher-<vm>-<5 characters>, the VM's labels and
// annotations, KubeVirt's own labels, and the networks annotation in KubeVirt's form. Name and uid are
// derived, so that the same VM always gives the same pod. Code::kInvalidConfig for what KubeVirt would refuse
// at this point.
Result<Pod> launcher_pod(const VirtualMachineInstance& vm);

}  // namespace vmlane::multus
