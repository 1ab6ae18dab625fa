// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cni/kernel.h"

namespace vmlane::cni {

// The running kernel.
class RealKernel final : public Kernel {
 public:
  Result<netlink::Namespace> host_namespace() override;
  Result<netlink::Namespace> open_namespace(const std::string& path) override;
  Result<std::unique_ptr<netlink::Netlink>> netlink(const netlink::Namespace& where) override;
  Result<> create_tap(const netlink::Namespace& where, const netlink::TapSpec& spec) override;
  Result<SelinuxMode> selinux_mode() override;
  Result<> create_labelled_tap(const netlink::Namespace& where, const netlink::TapSpec& spec,
                               const std::string& context) override;
  Result<> tun_available() override;
  Result<netlink::TapInfo> tap_info(const netlink::Namespace& where, const std::string& name) override;
  Result<netlink::DeviceNumber> macvtap_device(const netlink::Namespace& where, int index) override;
  Result<> attach_splice(const netlink::Namespace& where, int first_index, int second_index) override;
  Result<> check_splice(const netlink::Namespace& where, int first_index, int second_index) override;
  Result<ebpf::WorkloadHandle> attach_workload(const NodeConfig& node, const ebpf::WorkloadLink& link,
                                               const ebpf::WorkloadSpec& spec) override;
  Result<> check_workload(const ebpf::WorkloadLink& link, const ebpf::WorkloadHandle& handle,
                          const std::string& attachment_id, const std::optional<ebpf::SourceGuard>& guard,
                          const std::string& answers_digest) override;
  Result<> forget_workload(const std::filesystem::path& run_dir, const std::string& attachment_id,
                           const std::optional<ebpf::WorkloadHandle>& handle) override;
  Result<ebpf::PolicyHandle> attach_policy(const NodeConfig& node, const ebpf::WorkloadLink& link,
                                           std::uint16_t key, const ebpf::PolicySpec& spec) override;
  Result<> check_policy(const std::filesystem::path& run_dir, const ebpf::WorkloadLink& link,
                        const ebpf::PolicyHandle& handle, const ebpf::PolicySpec& spec) override;
  Result<> forget_policy(const std::filesystem::path& run_dir, const std::string& attachment_id,
                         const std::optional<ebpf::PolicyHandle>& handle) override;
  Result<> write_link_sysctl(const netlink::Namespace& where, const std::string& family,
                             const std::string& link, const std::string& key,
                             const std::string& value) override;
  Result<std::optional<std::string>> read_link_sysctl(const netlink::Namespace& where,
                                                      const std::string& family, const std::string& link,
                                                      const std::string& key) override;
  Result<std::optional<std::string>> bridge_netfilter_switch(const netlink::Namespace& where,
                                                             const std::string& bridge, bool v6) override;
  Result<std::vector<netlink::ForwardChain>> forward_chains(const netlink::Namespace& where,
                                                            const std::string& bridge) override;
  Result<> accept_bridged(const netlink::Namespace& where, const netlink::ForwardChain& chain,
                          const std::string& bridge) override;
  Result<> withdraw_accept(const netlink::Namespace& where, const netlink::ForwardChain& chain,
                           const std::string& bridge) override;
  Result<> set_masquerade(const netlink::Namespace& where, const netlink::Masquerade& masquerade) override;
  Result<bool> has_masquerade(const netlink::Namespace& where,
                              const netlink::Masquerade& masquerade) override;
  Result<> remove_masquerade(const netlink::Namespace& where, const std::string& owner) override;
};

}  // namespace vmlane::cni
