// SPDX-License-Identifier: Apache-2.0
#include "lab/cni_call.h"

#include "core/exec.h"
#include "lab/namespaces.h"
#include "netlink/namespace.h"

namespace vmlane::lab {
namespace {

// What plugins run by name (ip, nft) are found in, whatever the user's PATH is.
constexpr std::string_view kPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

std::string configuration(const LabState& state) {
  Json config = {
      {"cniVersion", "1.1.0"}, {"name", "vmlane-lab"}, {"type", "vmlane-multus"}, {"binDir", state.bin_dir}};
  if (!state.default_network.empty()) {
    config["clusterNetwork"] = state.default_network;
    config["multusNamespace"] = "default";
  }
  return to_text(config);
}

Environment environment(const LabPaths& paths, const LabState& state, const Workload& workload,
                        std::string_view command) {
  const auto netns = workload.network_namespace(paths);
  return {{"CNI_COMMAND", std::string(command)},
          {"CNI_CONTAINERID", workload.container_id},
          {"CNI_NETNS", is_namespace(netns) ? netns.string() : ""},  // DEL may come when it is gone
          {"CNI_IFNAME", "eth0"},
          {"CNI_ARGS",
           "IgnoreUnknown=1;K8S_POD_NAMESPACE=" + workload.ns + ";K8S_POD_NAME=" + workload.pod_name +
               ";K8S_POD_INFRA_CONTAINER_ID=" + workload.container_id + ";K8S_POD_UID=" + workload.pod_uid},
          {"CNI_PATH", state.cni_path},
          {"PATH", std::string(kPath)},
          {"VMLANE_CONFIG", paths.node_config().string()}};
}

}  // namespace

Result<> call_multus(const LabPaths& paths, const LabState& state, const Workload& workload,
                     std::string_view command) {
  VMLANE_ASSIGN(const auto program, find_plugin(state.cni_path, "vmlane-multus"));
  VMLANE_ASSIGN(const auto host, netlink::Namespace::open(paths.host_namespace().string()));
  const auto output = host.run<std::string>([&] {
    return run_plugin(program, environment(paths, state, workload, command), configuration(state));
  });
  if (!output) return fail(output.error());
  return {};
}

}  // namespace vmlane::lab
