// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/bpf.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "ebpf/guest_answers.h"
#include "tests/fuzz/kernel/workload_program.h"

// The kernel around a program on a link, as far as the program sees it: a frame whose first bytes only can be
// reached by pointers, as in an skb with fragments, its maps, and the helpers.
namespace vmlane::fuzz {

struct WorkloadMaps {
  vmlane_plain plain{};
  vmlane_guard guard{};
  vmlane_answers answers{};
  std::map<std::array<std::uint8_t, sizeof(vmlane_network_address)>, vmlane_claim> claims;
};

// What a program made of a frame.
struct Outcome {
  int verdict = 0;
  std::vector<std::uint8_t> frame;
  std::vector<std::vector<std::uint8_t>> copies;  // sent by bpf_clone_redirect
};

// One frame at a time; `linear` bytes of it can be reached by pointers, and a read of one more is seen as a
// crash. At most 4,096 bytes.
class KernelFrame {
 public:
  KernelFrame(std::vector<std::uint8_t> frame, std::size_t linear);

  // Runs a program of workload.bpf.c with these maps.
  Outcome run(int (*program)(struct __sk_buff*), WorkloadMaps& maps);
  struct __sk_buff* skb() {
    return &skb_;
  }

 private:
  friend struct Helpers;
  void place();  // makes the linear part and the skb say what the frame does

  std::vector<std::uint8_t> bytes_;
  std::size_t linear_;
  struct __sk_buff skb_ {};
  WorkloadMaps* maps_ = nullptr;
  std::vector<std::vector<std::uint8_t>> copies_;
};

}  // namespace vmlane::fuzz
