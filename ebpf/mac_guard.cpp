// SPDX-License-Identifier: Apache-2.0
#include "ebpf/mac_guard.h"

#include <bpf/libbpf.h>
#include <mac_guard.skel.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>

#include "ebpf/libbpf_error.h"
#include "ebpf/program.h"

namespace vmlane::ebpf {
namespace {

constexpr std::string_view kProgramName = "vmlane_macguard";

struct DestroySkeleton {
  void operator()(mac_guard_bpf* skeleton) const { mac_guard_bpf::destroy(skeleton); }
};
using Skeleton = std::unique_ptr<mac_guard_bpf, DestroySkeleton>;

Result<Skeleton> load(const MacAddress& workload) {
  Skeleton skeleton(mac_guard_bpf::open());
  if (!skeleton) return fail(libbpf_error("cannot open the MAC guard", errno));
  std::memcpy(skeleton->rodata->workload_mac, workload.bytes.data(), workload.bytes.size());
  if (const int error = mac_guard_bpf::load(skeleton.get()); error != 0) {
    return fail(libbpf_error("cannot load the MAC guard", -error));
  }
  return skeleton;
}

bool is_guard_for(std::uint32_t program_id, const MacAddress& workload) {
  const auto constants = read_constants(program_id, kProgramName);
  return constants && std::ranges::equal(*constants, workload.bytes);
}

}  // namespace

Result<> attach_mac_guard(const netlink::Namespace& host_namespace, int index, const MacAddress& workload) {
  return attach_by_either(
      [&](Attach attach) { return attach_mac_guard(host_namespace, index, workload, attach); });
}

Result<> attach_mac_guard(const netlink::Namespace& host_namespace, int index, const MacAddress& workload,
                          Attach attach) {
  silence_libbpf();
  return host_namespace.run<void>([&]() -> Result<> {
    VMLANE_ASSIGN(const Skeleton skeleton, load(workload));
    return attach_to_ingress(index, bpf_program__fd(skeleton->progs.vmlane_macguard), attach);
  });
}

Result<> check_mac_guard(const netlink::Namespace& host_namespace, int index, const MacAddress& workload) {
  silence_libbpf();
  return host_namespace.run<void>([&] {
    return expect_on_ingress(
        index, [&](std::uint32_t id) { return is_guard_for(id, workload); },
        "guard for MAC " + workload.to_string());
  });
}

}  // namespace vmlane::ebpf
