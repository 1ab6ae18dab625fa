// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "dataplane/dpdk.h"

namespace vmlane::dataplane {

// Frames of one port for somebody to look at: all that the guest sends, whatever becomes of it, and what it
// is sent. Bounded in frames, in bytes of each, and in time, since who asked for it may go away.
class Capture {
 public:
  static constexpr std::uint32_t kMostFrames = 1000;
  static constexpr std::uint32_t kMostBytes = 2048;  // of a frame
  static constexpr std::uint64_t kMostSeconds = 600;

  struct Frame {
    std::uint64_t time = 0;  // clock_ns()
    bool sent = false;       // by the guest
    std::uint32_t length = 0;
    std::vector<std::uint8_t> bytes;  // the first ones
  };

  Capture(std::uint32_t frames, std::uint32_t bytes, std::uint64_t until)
      : left_(std::min(frames, kMostFrames)), bytes_(std::min(bytes, kMostBytes)), until_(until) {}

  bool over(std::uint64_t now) const { return left_ == 0 || now >= until_; }
  void add(const rte_mbuf& frame, bool sent, std::uint64_t now) {
    if (over(now)) return;
    left_--;
    Frame& taken = frames_.emplace_back();
    taken.time = now;
    taken.sent = sent;
    taken.length = frame.pkt_len;
    taken.bytes.resize(std::min(frame.pkt_len, bytes_));
    const auto size = static_cast<std::uint32_t>(taken.bytes.size());
    const void* bytes = rte_pktmbuf_read(&frame, 0, size, taken.bytes.data());
    if (bytes != nullptr && bytes != taken.bytes.data())
      std::copy_n(static_cast<const std::uint8_t*>(bytes), size, taken.bytes.begin());
  }
  std::vector<Frame> take() { return std::exchange(frames_, {}); }

 private:
  std::uint32_t left_;
  const std::uint32_t bytes_;
  const std::uint64_t until_;
  std::vector<Frame> frames_;
};

}  // namespace vmlane::dataplane
