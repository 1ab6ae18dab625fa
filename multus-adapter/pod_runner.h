// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/exec.h"
#include "core/json.h"
#include "core/log.h"
#include "core/node_config.h"
#include "multus-adapter/networks.h"
#include "multus-adapter/objects.h"
#include "multus-adapter/pod_state.h"
#include "netlink/netlink.h"

namespace vmlane::multus {

struct ChainContext;
struct PlannedAttachment;

// Settings of the meta plugin, under the names of Multus' configuration keys.
struct MultusSettings {
  std::string cluster_network;  // "[ns/]name" of the default network; empty: the pod gets no interface from
                                // us without annotation
  std::vector<std::string>
      default_networks;  // "[ns/]name", added to every pod outside systemNamespaces, before its own
  std::filesystem::path bin_dir = "/opt/cni/bin";     // searched before CNI_PATH
  std::filesystem::path conf_dir = "/etc/cni/net.d";  // configurations of NADs without one
  bool namespace_isolation = false;  // a pod may use NADs of its own and the global namespaces only
  std::vector<std::string> global_namespaces = {"default"};
  std::string multus_namespace =
      "kube-system";  // of cluster, default networks and the default-network annotation, where they name none
  std::vector<std::string> system_namespaces = {"kube-system"};  // pods there get the cluster network only
};

// One sandbox (pod) of the container runtime.
struct Sandbox {
  std::string container_id;
  std::string netns;            // path; may be empty for del
  std::string ifname = "eth0";  // of the default network
  std::string extra_args;       // further CNI_ARGS pairs to pass on ("K=V;K=V")
  Environment env;  // environment for plugins: PATH, VMLANE_CONFIG, CNI_PATH; CNI_* are set by the runner
  Json runtime_config = Json::object();  // for the default network, as our own caller gave it
};

// What came of one attachment.
struct Attachment {
  std::string nad;  // "ns/name"
  std::string network;
  std::string ifname;
  bool is_default = false;
  Json result;  // of the last plugin of the chain, in the configuration's version
};

struct PodAttachments {
  std::vector<Attachment> attachments;  // default network first
  Json network_status;                  // value of the network-status annotation, a list
  // The default network's; null without one.
  Json default_result;
};

// Attaches, detaches and checks all networks of a pod.
//
// Files, all written atomically:
//   <stateDir>/multus/<first 32 hex of sha256(container id)>.json   what DEL needs: configurations, names,
//   results; intent before each plugin <runDir>/pods/<pod uid>.json             pod facts, before the first
//   plugin, removed by DEL <runDir>/network-status/<pod uid>.json   network-status, after the last plugin,
//   removed by DEL
class PodRunner {
 public:
  using OpenNetlink = std::function<Result<std::unique_ptr<netlink::Netlink>>(const std::string& netns)>;

  PodRunner(const NodeConfig& config, const Log& log, MultusSettings settings, PluginExec& exec,
            OpenNetlink open_netlink);

  // Networks that need none of the others, those of this project's lanes, are attached and detached at the
  // same time, others in their order. All or nothing: names, configurations, clashes are checked before the
  // first plugin runs; on a failure what was made is deleted in reverse and the first error returned.
  // Code::kTryAgain for an object that is not there (yet), kConflict for an interface name or network name
  // that is taken.
  Result<PodAttachments> add(const ObjectStore& objects, const Pod& pod, const Sandbox& sandbox);
  // Deletes every attachment, in reverse where order counts, from the state of ADD. Goes on after errors,
  // keeps in the state exactly those attachments that failed, and returns one error naming them. Without
  // state there is nothing to do.
  Result<> del(const Sandbox& sandbox);
  // CHECK of every plugin that can, in order; the first error. Code::kUnknownContainer without state.
  Result<> check(const Sandbox& sandbox);
  // Deletes the attachments of all sandboxes that are not in `alive`, then tells the plugins of the known
  // networks which attachments are left. Goes on after errors and returns them together. `env` as in Sandbox.
  Result<> gc(const std::set<std::string>& alive, const Environment& env);
  // Whether ADD could work for the default network: its object, its plugins, and what those say.
  // Code::kNotAvailable.
  Result<> status(const ObjectStore& objects, const Environment& env);

 private:
  Result<PodState> prepare(const Pod& pod, const Sandbox& sandbox,
                           const std::vector<PlannedAttachment>& plan);
  Result<> attach_all(PodState& state, const ChainContext& context);
  Result<> set_default_route(PodState& state, const std::vector<PlannedAttachment>& plan);
  Result<> del_state(PodState& state, const ChainContext& context);
  ChainContext context_of(const std::string& container_id, const std::string& netns,
                          const Environment& env) const;

  const NodeConfig& config_;
  const Log& log_;
  const MultusSettings settings_;
  PluginExec& exec_;
  const OpenNetlink open_netlink_;
  const PodStateStore store_;
};

// The namespace at the path; Code::kInvalidNamespace when it is the caller's own, whose links are the node's.
Result<std::unique_ptr<netlink::Netlink>> open_pod_netlink(const std::string& netns);

}  // namespace vmlane::multus
