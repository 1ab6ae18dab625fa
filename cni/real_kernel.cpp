// SPDX-License-Identifier: Apache-2.0
#include "cni/real_kernel.h"

#include <sys/stat.h>

#include "ebpf/splice.h"

namespace vmlane::cni {

Result<netlink::Namespace> RealKernel::host_namespace() {
  return netlink::Namespace::current();
}

Result<netlink::Namespace> RealKernel::open_namespace(const std::string& path) {
  return netlink::Namespace::open(path);
}

Result<std::unique_ptr<netlink::Netlink>> RealKernel::netlink(const netlink::Namespace& where) {
  return netlink::open_netlink(where);
}

Result<> RealKernel::create_tap(const netlink::Namespace& where, const netlink::TapSpec& spec) {
  return netlink::create_tap(where, spec);
}

Result<SelinuxMode> RealKernel::selinux_mode() {
  return cni::selinux_mode(Selinux());
}

Result<> RealKernel::create_labelled_tap(const netlink::Namespace& where, const netlink::TapSpec& spec,
                                         const std::string& context) {
  return cni::create_labelled_tap(Selinux(), where, spec, context);
}

Result<> RealKernel::tun_available() {
  struct stat info {};
  if (::stat("/dev/net/tun", &info) == 0 && S_ISCHR(info.st_mode)) return {};
  return fail(Code::kNotAvailable, "the node has no tun device",
              "load the module tun; /dev/net/tun must be a character device");
}

Result<netlink::TapInfo> RealKernel::tap_info(const netlink::Namespace& where, const std::string& name) {
  return netlink::tap_info(where, name);
}

Result<netlink::DeviceNumber> RealKernel::macvtap_device(const netlink::Namespace& where, int index) {
  return netlink::macvtap_device(where, index);
}

Result<> RealKernel::attach_splice(const netlink::Namespace& where, int first_index, int second_index) {
  return ebpf::attach_splice(where, first_index, second_index);
}

Result<> RealKernel::check_splice(const netlink::Namespace& where, int first_index, int second_index) {
  return ebpf::check_splice(where, first_index, second_index);
}

Result<ebpf::WorkloadHandle> RealKernel::attach_workload(const NodeConfig& node,
                                                         const ebpf::WorkloadLink& link,
                                                         const ebpf::WorkloadSpec& spec) {
  return ebpf::attach_workload(node, link, spec);
}

Result<> RealKernel::check_workload(const ebpf::WorkloadLink& link, const ebpf::WorkloadHandle& handle,
                                    const std::string& attachment_id,
                                    const std::optional<ebpf::SourceGuard>& guard,
                                    const std::string& answers_digest) {
  return ebpf::check_workload(link, handle, attachment_id, guard, answers_digest);
}

Result<> RealKernel::forget_workload(const std::filesystem::path& run_dir, const std::string& attachment_id,
                                     const std::optional<ebpf::WorkloadHandle>& handle) {
  return ebpf::forget_workload(run_dir, attachment_id, handle);
}

Result<ebpf::PolicyHandle> RealKernel::attach_policy(const NodeConfig& node, const ebpf::WorkloadLink& link,
                                                     std::uint16_t key, const ebpf::PolicySpec& spec) {
  return ebpf::attach_policy(node, link, key, spec);
}

Result<> RealKernel::check_policy(const std::filesystem::path& run_dir, const ebpf::WorkloadLink& link,
                                  const ebpf::PolicyHandle& handle, const ebpf::PolicySpec& spec) {
  return ebpf::check_policy(run_dir, link, handle, spec);
}

Result<> RealKernel::forget_policy(const std::filesystem::path& run_dir, const std::string& attachment_id,
                                   const std::optional<ebpf::PolicyHandle>& handle) {
  return ebpf::forget_policy(run_dir, attachment_id, handle);
}

Result<> RealKernel::write_link_sysctl(const netlink::Namespace& where, const std::string& family,
                                       const std::string& link, const std::string& key,
                                       const std::string& value) {
  return netlink::write_link_sysctl(where, family, link, key, value);
}

Result<std::optional<std::string>> RealKernel::read_link_sysctl(const netlink::Namespace& where,
                                                                const std::string& family,
                                                                const std::string& link,
                                                                const std::string& key) {
  return netlink::read_link_sysctl(where, family, link, key);
}

Result<std::optional<std::string>> RealKernel::bridge_netfilter_switch(const netlink::Namespace& where,
                                                                       const std::string& bridge, bool v6) {
  return netlink::bridge_netfilter_switch(where, bridge, v6);
}

Result<std::vector<netlink::ForwardChain>> RealKernel::forward_chains(const netlink::Namespace& where,
                                                                      const std::string& bridge) {
  return netlink::forward_chains(where, bridge);
}

Result<> RealKernel::accept_bridged(const netlink::Namespace& where, const netlink::ForwardChain& chain,
                                    const std::string& bridge) {
  return netlink::accept_bridged(where, chain, bridge);
}

Result<> RealKernel::withdraw_accept(const netlink::Namespace& where, const netlink::ForwardChain& chain,
                                     const std::string& bridge) {
  return netlink::withdraw_accept(where, chain, bridge);
}

Result<> RealKernel::set_masquerade(const netlink::Namespace& where, const netlink::Masquerade& masquerade) {
  return netlink::set_masquerade(where, masquerade);
}

Result<bool> RealKernel::has_masquerade(const netlink::Namespace& where,
                                        const netlink::Masquerade& masquerade) {
  return netlink::has_masquerade(where, masquerade);
}

Result<> RealKernel::remove_masquerade(const netlink::Namespace& where, const std::string& owner) {
  return netlink::remove_masquerade(where, owner);
}

}  // namespace vmlane::cni
