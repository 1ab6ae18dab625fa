// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/invocation.h"

namespace vmlane {

enum class LogLevel { kDebug, kInfo, kWarning, kError };
enum class LogFormat { kText, kJson };

// The verdict on a workload that no policy tables know: deny, allow, or deny where an agent has run.
enum class PolicyDefault { kAuto, kDeny, kAllow };
// No value for any other word.
std::optional<PolicyDefault> parse_policy_default(std::string_view word);

// The node configuration, one JSON object: $VMLANE_CONFIG, else /etc/cni/net.d/vmlane.d/node.json; without a
// file the defaults below. Two nodes on one machine differ only in this file. NAD keys never override a
// directory.
//   stateDir, runDir, bpfDir            absolute paths
//   logFile                             absolute path; anything else logs nowhere
//   ownerUid, ownerGid                  who opens taps, sockets and device nodes of VMs (KubeVirt's 107)
//   switchUid                           as whom vmlane-switch runs; owns the taps of its uplinks
//   vmlaneGid                           group that may read records; absent: root's
//   logLevel debug|info|warning|error, logFormat text|json, logMaxBytes
//   objectPaths                         files and directories with NADs, Pods, VMs (vmlane-multus, lab)
//   policyDefault auto|deny|allow       of NICs whose NAD does not say it
//   podFactsTimeout                     milliseconds an ADD waits for the agent's facts about its pod, 0 to
//   60000 bootIdFile                          where this boot's random id stands
struct NodeConfig {
  std::filesystem::path source;  // the file it was read from, empty for the defaults
  std::filesystem::path state_dir = "/var/lib/vmlane";
  std::filesystem::path run_dir = "/run/vmlane";
  std::filesystem::path bpf_dir = "/sys/fs/bpf/vmlane";
  std::filesystem::path log_file = "/var/log/vmlane/vmlane.log";
  uid_t owner_uid = 107;
  gid_t owner_gid = 107;
  uid_t switch_uid = 0;
  gid_t vmlane_gid = 0;
  LogLevel log_level = LogLevel::kInfo;
  LogFormat log_format = LogFormat::kText;
  std::uint64_t log_max_bytes = std::uint64_t{10}
                                << 20;  // of one file; with the rotated ones five times this
  std::vector<std::filesystem::path> object_paths;
  std::chrono::milliseconds pod_facts_timeout{2000};
  PolicyDefault policy_default = PolicyDefault::kAuto;
  std::filesystem::path boot_id_file = "/proc/sys/kernel/random/boot_id";

  std::filesystem::path attachments_dir() const { return state_dir / "attachments"; }
  std::filesystem::path networks_file() const { return state_dir / "networks"; }
  std::filesystem::path macs_dir() const { return state_dir / "macs"; }
  std::filesystem::path boot_marker() const { return state_dir / "boot"; }
  std::filesystem::path agent_marker() const { return state_dir / "agent.enabled"; }
  std::filesystem::path agent_socket() const { return run_dir / "agent.sock"; }
  std::filesystem::path switch_socket() const { return run_dir / "switch.sock"; }
  // Directories of vhost-user ports, in which QEMU makes its sockets.
  std::filesystem::path ports_dir() const { return run_dir / "ports"; }
  std::filesystem::path locks_dir() const { return run_dir / "locks"; }
  // What the agent learns about attachments, one file each: records are the plugins'.
  std::filesystem::path agent_dir() const { return state_dir / "agent"; }
  std::filesystem::path policy_dir() const { return run_dir / "policy"; }
  std::filesystem::path pods_dir() const { return run_dir / "pods"; }
  // The next number for a macvtap that no device plugin has given one.
  std::filesystem::path ifindex_file() const { return run_dir / "ifindex"; }
  std::filesystem::path network_status_dir() const { return run_dir / "network-status"; }
};

// Errors (Code::kInvalidConfig) name file and key. Unknown keys are an error here: the file is ours alone.
Result<NodeConfig> load_node_config(const Invocation& invocation);

}  // namespace vmlane
