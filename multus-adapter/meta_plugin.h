// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cni/request.h"
#include "cni/result.h"
#include "core/error.h"
#include "core/exec.h"
#include "core/invocation.h"
#include "core/json.h"
#include "multus-adapter/pod_runner.h"

// vmlane-multus: the CNI meta plugin for nodes without Multus and for the lab. The runtime calls it once for
// a pod; it finds the pod and its networks in the node config's objectPaths and has PodRunner call the
// plugins.
namespace vmlane::multus {

// Keys of its own configuration: clusterNetwork, defaultNetworks, binDir, confDir, namespaceIsolation,
// globalNamespaces (a list, or a text with commas as in Multus), multusNamespace, systemNamespaces. Errors
// are Code::kInvalidConfig naming key and value.
Result<MultusSettings> parse_settings(const Json& config);

// The pod that CNI_ARGS speak of (K8S_POD_NAMESPACE, K8S_POD_NAME, K8S_POD_UID). Code::kBadEnvironment when
// they name none, Code::kTryAgain when the objects have no such pod, or only an earlier one of that name.
Result<const Pod*> find_pod(const ObjectStore& objects, const cni::CniArgs& args);

// CNI_ARGS pairs beyond those that every Kubernetes runtime gives, in the form "K=V;K=V".
std::string extra_args(const cni::CniArgs& args);

// The program's main() but for reading the process.
int run_meta_plugin(const Invocation& invocation, PluginExec& exec,
                    const PodRunner::OpenNetlink& open_netlink);

}  // namespace vmlane::multus
