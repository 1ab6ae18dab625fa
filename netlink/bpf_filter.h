// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/error.h"
#include "netlink/namespace.h"

// Kernel programs on a link by its clsact qdisc, one for each direction. A filter keeps its program, and so
// the program's maps, for as long as the link is there; both go with the link.
namespace vmlane::netlink {

// As the link sees it: what it receives, and what it sends.
enum class Direction { kIngress, kEgress };
constexpr Direction opposite(Direction direction) {
  return direction == Direction::kIngress ? Direction::kEgress : Direction::kIngress;
}

// Filters of a direction run one after the other, the lower number first, until one decides.
enum class FilterOrder : std::uint8_t { kFirst = 1, kSecond = 2 };

struct BpfFilter {
  std::uint32_t program_id = 0;
  // What the program finds in __sk_buff::tc_classid before its first instruction: by it one loaded program
  // knows which of its links it works for. 16 bits.
  std::uint16_t class_id = 0;
};

struct BpfFilterSpec {
  int program = -1;  // descriptor of a program of type sched_cls
  std::string name;  // shown by `tc filter show`
  std::uint16_t class_id = 0;
  FilterOrder order = FilterOrder::kFirst;
};

// Adds the qdisc where the link has none, and the filter, which takes the place of an earlier one of ours of
// the same order. One system call. Code::kNotFound when the link is gone.
Result<> set_bpf_filter(const Namespace& network_namespace, int index, Direction direction,
                        const BpfFilterSpec& spec);

// The filter that set_bpf_filter put there; none when there is none. Code::kNotFound when the link is gone.
Result<std::optional<BpfFilter>> bpf_filter(const Namespace& network_namespace, int index,
                                            Direction direction, FilterOrder order = FilterOrder::kFirst);

}  // namespace vmlane::netlink
