// SPDX-License-Identifier: Apache-2.0
#pragma once

// DPDK's headers, which are C with inline functions, in one place.
#include <rte_cycles.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_pause.h>
#include <rte_tcp.h>
#include <rte_udp.h>
#include <rte_vhost.h>

#include <cstdint>
#include <memory>
#include <span>

namespace vmlane::dataplane {

// Owns a frame: a chain of DPDK's buffers.
struct FreeFrame {
  void operator()(rte_mbuf* frame) const { rte_pktmbuf_free(frame); }
};
using FramePtr = std::unique_ptr<rte_mbuf, FreeFrame>;

// The bytes of a frame's first buffer, which has all headers of frames that are not malformed.
inline std::span<std::uint8_t> head_of(rte_mbuf* frame) {
  return {rte_pktmbuf_mtod(frame, std::uint8_t*), frame->data_len};
}

// Nanoseconds of a clock that never jumps, by the time stamp counter: cheap enough to be read in each round.
inline std::uint64_t clock_ns() {
  constexpr double kSecond = 1e9;
  static const double per_tick = kSecond / static_cast<double>(rte_get_tsc_hz());
  return static_cast<std::uint64_t>(static_cast<double>(rte_rdtsc()) * per_tick);
}

}  // namespace vmlane::dataplane
