// SPDX-License-Identifier: Apache-2.0
#include "ebpf/splice.h"

#include <bpf/libbpf.h>
#include <splice.skel.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "ebpf/ingress.h"
#include "ebpf/libbpf_error.h"
#include "ebpf/program.h"

namespace vmlane::ebpf {
namespace {

constexpr std::string_view kProgramName = "vmlane_splice";

struct DestroySkeleton {
  void operator()(splice_bpf* skeleton) const { splice_bpf::destroy(skeleton); }
};
using Skeleton = std::unique_ptr<splice_bpf, DestroySkeleton>;

Result<Skeleton> load(int target_index) {
  Skeleton skeleton(splice_bpf::open());
  if (!skeleton) return fail(libbpf_error("cannot open the splice program", errno));
  skeleton->rodata->target_ifindex = static_cast<std::uint32_t>(target_index);
  if (const int error = splice_bpf::load(skeleton.get()); error != 0) {
    return fail(libbpf_error("cannot load the splice program", -error));
  }
  return skeleton;
}

Result<> attach_one_way(int from_index, int to_index, Attach attach) {
  VMLANE_ASSIGN(const Skeleton skeleton, load(to_index));
  return attach_to_ingress(from_index, bpf_program__fd(skeleton->progs.vmlane_splice), attach);
}

// Where a loaded program sends its frames; no value when it is gone or is no splice.
std::optional<std::uint32_t> target_of(std::uint32_t program_id) {
  const auto constants = read_constants(program_id, kProgramName);
  std::uint32_t target = 0;
  if (!constants || constants->size() != sizeof(target)) return std::nullopt;
  std::memcpy(&target, constants->data(), sizeof(target));
  return target;
}

Result<> check_one_way(int from_index, int to_index) {
  return expect_on_ingress(
      from_index, [&](std::uint32_t id) { return target_of(id) == static_cast<std::uint32_t>(to_index); },
      "splice to " + link_text(to_index));
}

}  // namespace

Result<> attach_splice(const netlink::Namespace& pod_namespace, int first_index, int second_index) {
  return attach_by_either(
      [&](Attach attach) { return attach_splice(pod_namespace, first_index, second_index, attach); });
}

Result<> attach_splice(const netlink::Namespace& pod_namespace, int first_index, int second_index,
                       Attach attach) {
  silence_libbpf();
  return pod_namespace.run<void>([&]() -> Result<> {
    VMLANE_TRY(attach_one_way(first_index, second_index, attach));
    return attach_one_way(second_index, first_index, attach);
  });
}

Result<> check_splice(const netlink::Namespace& pod_namespace, int first_index, int second_index) {
  silence_libbpf();
  return pod_namespace.run<void>([&]() -> Result<> {
    VMLANE_TRY(check_one_way(first_index, second_index));
    return check_one_way(second_index, first_index);
  });
}

}  // namespace vmlane::ebpf
