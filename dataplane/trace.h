// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/address.h"
#include "dataplane/dpdk.h"
#include "dataplane/drop_reason.h"
#include "policy/native_stage.h"

namespace vmlane::dataplane {

// What the switch did with one frame, step by step in the order in which it was done.
struct Trace {
  static constexpr std::size_t kMostBytes = 2048;  // that are shown of the frame

  struct Step {
    std::string_view stage;
    std::string port;  // at which it was
    std::string outcome;
    std::optional<policy::NativeStage::Outcome> policy;  // of the steps of policy
  };
  struct Dropped {
    std::string port;  // at which it was counted
    DropReason reason = DropReason::kNobody;
  };

  std::uint64_t time = 0;  // clock_ns()
  std::uint32_t length = 0;
  std::vector<std::uint8_t> bytes;
  std::vector<Step> steps;
  std::vector<std::string> sent;  // ports that took it, whole or in pieces
  std::vector<Dropped> dropped;
  bool rehearsed = false;  // nothing of it happened

  static Trace of(const rte_mbuf& frame, std::uint64_t now);
};

// Which frames somebody wants to follow; what is not given matches all.
struct FrameMatch {
  std::optional<MacAddress> source_mac;
  std::optional<MacAddress> destination_mac;
  std::optional<std::uint8_t> protocol;  // of IP; with it, or one of the next, only IP packets match
  std::optional<IpAddress> source;
  std::optional<IpAddress> destination;
  std::optional<std::uint16_t> source_port;
  std::optional<std::uint16_t> destination_port;

  // `head`: the frame from its Ethernet header on.
  bool matches(std::span<const std::uint8_t> head) const;
};

// Follows frames of one port as they come. Bounded in frames and in time, since who asked may go away.
class Tracer {
 public:
  static constexpr std::uint32_t kMostFrames = 100;
  static constexpr std::uint64_t kMostSeconds = 600;

  Tracer(FrameMatch match, std::uint32_t frames, std::uint64_t until)
      : match_(match), left_(std::min(frames, kMostFrames)), until_(until) {}

  bool over(std::uint64_t now) const { return left_ == 0 || now >= until_; }
  bool wants(std::span<const std::uint8_t> head, std::uint64_t now) const {
    return !over(now) && match_.matches(head);
  }
  void add(Trace trace) {
    left_--;
    traces_.push_back(std::move(trace));
  }
  std::vector<Trace> take() { return std::exchange(traces_, {}); }

 private:
  const FrameMatch match_;
  std::uint32_t left_;
  const std::uint64_t until_;
  std::vector<Trace> traces_;
};

}  // namespace vmlane::dataplane
