// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cni/tap/labelled_tap.h"
#include "core/error.h"
#include "ebpf/policy.h"
#include "ebpf/workload.h"
#include "netlink/forward_filter.h"
#include "netlink/masquerade.h"
#include "netlink/namespace.h"
#include "netlink/netlink.h"

namespace vmlane::cni {

// All that lanes ask of the kernel. The real one passes each call to netlink/ and ebpf/; a test can give one
// that records or refuses.
class Kernel {
 public:
  virtual ~Kernel() = default;

  // The namespace the plugin runs in: the node's.
  virtual Result<netlink::Namespace> host_namespace() = 0;
  virtual Result<netlink::Namespace> open_namespace(const std::string& path) = 0;
  virtual Result<std::unique_ptr<netlink::Netlink>> netlink(const netlink::Namespace& where) = 0;

  virtual Result<> create_tap(const netlink::Namespace& where, const netlink::TapSpec& spec) = 0;
  virtual Result<SelinuxMode> selinux_mode() = 0;
  virtual Result<> create_labelled_tap(const netlink::Namespace& where, const netlink::TapSpec& spec,
                                       const std::string& context) = 0;
  // Code::kNotAvailable with the fix when the node has no tun device.
  virtual Result<> tun_available() = 0;
  virtual Result<netlink::TapInfo> tap_info(const netlink::Namespace& where, const std::string& name) = 0;
  virtual Result<netlink::DeviceNumber> macvtap_device(const netlink::Namespace& where, int index) = 0;
  virtual Result<> attach_splice(const netlink::Namespace& where, int first_index, int second_index) = 0;
  virtual Result<> check_splice(const netlink::Namespace& where, int first_index, int second_index) = 0;
  // The programs on a workload's link, see ebpf/workload.h; Code::kChanged from the check.
  virtual Result<ebpf::WorkloadHandle> attach_workload(const NodeConfig& node, const ebpf::WorkloadLink& link,
                                                       const ebpf::WorkloadSpec& spec) = 0;
  virtual Result<> check_workload(const ebpf::WorkloadLink& link, const ebpf::WorkloadHandle& handle,
                                  const std::string& attachment_id,
                                  const std::optional<ebpf::SourceGuard>& guard,
                                  const std::string& answers_digest) = 0;
  virtual Result<> forget_workload(const std::filesystem::path& run_dir, const std::string& attachment_id,
                                   const std::optional<ebpf::WorkloadHandle>& handle) = 0;
  // The policy stage on a workload's link, see ebpf/policy.h; Code::kChanged from the check.
  virtual Result<ebpf::PolicyHandle> attach_policy(const NodeConfig& node, const ebpf::WorkloadLink& link,
                                                   std::uint16_t key, const ebpf::PolicySpec& spec) = 0;
  virtual Result<> check_policy(const std::filesystem::path& run_dir, const ebpf::WorkloadLink& link,
                                const ebpf::PolicyHandle& handle, const ebpf::PolicySpec& spec) = 0;
  virtual Result<> forget_policy(const std::filesystem::path& run_dir, const std::string& attachment_id,
                                 const std::optional<ebpf::PolicyHandle>& handle) = 0;
  virtual Result<> write_link_sysctl(const netlink::Namespace& where, const std::string& family,
                                     const std::string& link, const std::string& key,
                                     const std::string& value) = 0;
  virtual Result<std::optional<std::string>> read_link_sysctl(const netlink::Namespace& where,
                                                              const std::string& family,
                                                              const std::string& link,
                                                              const std::string& key) = 0;
  virtual Result<std::optional<std::string>> bridge_netfilter_switch(const netlink::Namespace& where,
                                                                     const std::string& bridge, bool v6) = 0;
  virtual Result<std::vector<netlink::ForwardChain>> forward_chains(const netlink::Namespace& where,
                                                                    const std::string& bridge) = 0;
  virtual Result<> accept_bridged(const netlink::Namespace& where, const netlink::ForwardChain& chain,
                                  const std::string& bridge) = 0;
  virtual Result<> withdraw_accept(const netlink::Namespace& where, const netlink::ForwardChain& chain,
                                   const std::string& bridge) = 0;
  virtual Result<> set_masquerade(const netlink::Namespace& where, const netlink::Masquerade& masquerade) = 0;
  virtual Result<bool> has_masquerade(const netlink::Namespace& where,
                                      const netlink::Masquerade& masquerade) = 0;
  virtual Result<> remove_masquerade(const netlink::Namespace& where, const std::string& owner) = 0;
};

}  // namespace vmlane::cni
