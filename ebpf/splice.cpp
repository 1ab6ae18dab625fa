// SPDX-License-Identifier: Apache-2.0
#include "ebpf/splice.h"

#include <bpf/libbpf.h>
#include <splice.skel.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>

#include "ebpf/ingress.h"
#include "ebpf/libbpf_error.h"
#include "ebpf/program.h"

namespace vmlane::ebpf {
namespace {

constexpr std::string_view kProgramName = "vmlane_splice";

struct DestroySpliceSkeleton {
  void operator()(splice_bpf* skeleton) const { splice_bpf::destroy(skeleton); }
};
using SpliceSkeleton = std::unique_ptr<splice_bpf, DestroySpliceSkeleton>;

// The constants of the program, as they lie in memory.
struct Pair {
  std::uint32_t first = 0;
  std::uint32_t second = 0;
  bool operator==(const Pair&) const = default;
};

// The same for either order.
Pair pair_of(int one_index, int other_index) {
  const auto [first, second] = std::minmax(one_index, other_index);
  return {static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(second)};
}

Result<SpliceSkeleton> load(const Pair& pair) {
  SpliceSkeleton skeleton(splice_bpf::open());
  if (!skeleton) return fail(libbpf_error("cannot open the splice program", errno));
  skeleton->rodata->first_ifindex = pair.first;
  skeleton->rodata->second_ifindex = pair.second;
  if (const int error = splice_bpf::load(skeleton.get()); error != 0) {
    return fail(libbpf_error("cannot load the splice program", -error));
  }
  return skeleton;
}

// What a loaded program joins; no value when it is gone or is no splice.
std::optional<Pair> joined_by(std::uint32_t program_id) {
  const auto constants = read_constants(program_id, kProgramName);
  Pair pair;
  if (!constants || constants->size() != sizeof(pair)) return std::nullopt;
  std::memcpy(&pair, constants->data(), sizeof(pair));
  return pair;
}

Result<> check_one_way(int from_index, int to_index, const Pair& pair) {
  return expect_on_ingress(
      from_index, [&](std::uint32_t id) { return joined_by(id) == pair; },
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
    VMLANE_ASSIGN(const SpliceSkeleton skeleton, load(pair_of(first_index, second_index)));
    const int program = bpf_program__fd(skeleton->progs.vmlane_splice);
    VMLANE_TRY(attach_to_ingress(first_index, program, attach));
    return attach_to_ingress(second_index, program, attach);
  });
}

Result<> check_splice(const netlink::Namespace& pod_namespace, int first_index, int second_index) {
  silence_libbpf();
  return pod_namespace.run<void>([&]() -> Result<> {
    const Pair pair = pair_of(first_index, second_index);
    VMLANE_TRY(check_one_way(first_index, second_index, pair));
    return check_one_way(second_index, first_index, pair);
  });
}

}  // namespace vmlane::ebpf
