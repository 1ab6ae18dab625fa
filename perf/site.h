// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cni/result.h"
#include "core/error.h"
#include "core/json.h"
#include "core/node_config.h"
#include "lab/process.h"
#include "multus-adapter/objects.h"
#include "netlink/namespace.h"

// Where a run takes place: a network namespace that stands for the node, one for each pod, the real plugins
// called as Multus would call them, and the processes in the pods.
//
// Invariants: nothing outside the site's directory and its eBPF pin directory is changed, the machine's own
// network namespace least of all; whatever a killed run left is found from the directory alone (namespaces by
// their mounts, processes by the namespace they are in) and removed when the next site is opened.
namespace vmlane::perf {

struct SiteOptions {
  std::filesystem::path root = "/run/vmlane-perf";
  std::filesystem::path bin_dir;                // the plugins, and this program
  std::vector<std::filesystem::path> cni_dirs;  // IPAM plugins
  std::filesystem::path guest_dir;              // vmlinuz and initramfs.gz, for QEMU guests
  std::string qemu = "qemu-system-x86_64";
  std::optional<std::filesystem::path> networks;  // instead of the built-in networks.yaml
  std::vector<int>
      cpus;  // the first is the client's, the second the guests' and responders'; empty: not pinned
};

struct Attached {
  cni::CniResult result;
  std::uint64_t started_ns = 0;  // now_ns() before the plugin was called
  double add_ms = 0;

  // The first IPv4 address, and the MAC and MTU of the pod's interface.
  Result<IpPrefix> prefix() const;
  Result<IpAddress> address() const;
  Result<MacAddress> mac() const;
  std::optional<std::uint32_t> mtu() const;
};

struct NamedProcess {
  std::string name;
  lab::ProcessRef process;
};

// The node's own namespace, among those of the pods.
inline constexpr const char* kNode = "node";

class Site {
 public:
  // Code::kTryAgain when another run has the directory. Removes what a killed run left, and says so by
  // `left_over`.
  static Result<std::unique_ptr<Site>> open(const SiteOptions& options, bool& left_over);
  ~Site();
  Site(const Site&) = delete;
  Site& operator=(const Site&) = delete;

  // Ends all processes and removes everything.
  Result<> close();

  const SiteOptions& options() const { return options_; }
  const NodeConfig& config() const { return config_; }
  std::filesystem::path file(const std::string& name) const { return options_.root / name; }
  std::filesystem::path namespace_path(const std::string& pod) const { return file("netns") / pod; }

  // A namespace with nothing but its loopback.
  Result<> make_pod(const std::string& pod);
  Result<netlink::Namespace> pod(const std::string& name) const;
  Result<netlink::Namespace> node() const { return pod(kNode); }
  // The configuration of a network of networks.yaml, as plugins get it.
  Result<Json> network_config(const std::string& network) const;
  // CNI ADD of eth0 with a network of networks.yaml. Errors are the plugin's own.
  Result<Attached> attach(const std::string& pod, const std::string& network);
  // Ends the pod's processes, calls DEL if it is attached, and removes its namespace. Gives the milliseconds
  // that DEL took, none when nothing was attached.
  Result<std::optional<double>> remove_pod(const std::string& pod);

  // A process outside the pod that is of no use without it: remove_pod ends it, too.
  void end_with_pod(const std::string& pod, const lab::ProcessRef& process);

  // The node's vhost-user switch; started once, and ended with the site.
  Result<NamedProcess> need_switch();

  // Starts this program with other arguments in a pod, pinned to the guests' CPU, and waits until it says
  // that it is ready.
  Result<NamedProcess> start(const std::string& pod, const std::string& name,
                             const std::vector<std::string>& arguments);
  // Moves a process and its threads to a CPU of the options, if there are so many: 0 is the client's, 1 the
  // guests'.
  void pin(const lab::ProcessRef& process, std::size_t cpu) const;
  void pin_guest(const lab::ProcessRef& process) const { pin(process, 1); }

 private:
  struct Attachment {
    std::string network;
    Json config;
  };
  explicit Site(SiteOptions options) : options_(std::move(options)) {}
  Result<> set_up(bool& left_over);
  Result<std::string> call_plugin(const std::string& pod, const Json& config, std::string_view command) const;

  SiteOptions options_;
  NodeConfig config_;
  multus::ObjectStore networks_;
  std::map<std::string, Attachment> attached_;                   // by pod
  std::map<std::string, std::vector<lab::ProcessRef>> outside_;  // by pod, not in its namespace
  std::optional<lab::ProcessRef> switch_;
  Fd lock_;
  bool closed_ = false;
};

// Whether the file names all networks that lanes ask for; before anything is set up.
Result<multus::ObjectStore> load_networks(const std::optional<std::filesystem::path>& file);

}  // namespace vmlane::perf
