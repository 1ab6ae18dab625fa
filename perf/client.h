// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>

#include "core/address.h"
#include "core/error.h"
#include "netlink/namespace.h"
#include "perf/histogram.h"

// The asking side of a measurement: sockets in the namespace of the client pod, used from the calling thread.
// Every figure comes from the client's clock. All of it stops early when `interrupted` says so.
namespace vmlane::perf {

using Nanoseconds = std::chrono::nanoseconds;
using Interrupted = std::function<bool()>;

struct Target {
  IpAddress address;
};

// What one block of round trips gave.
struct Block {
  Histogram histogram;
  std::uint64_t sent = 0;
  std::uint64_t lost = 0;     // no answer within kPatience, or a wrong one
  std::uint64_t wall_ns = 0;  // of the whole block
  std::uint64_t client_cpu_ns = 0;
};

// How long an answer is waited for.
inline constexpr Nanoseconds kPatience = std::chrono::milliseconds(200);

class Client {
 public:
  Client(const netlink::Namespace& where, const Target& target, Interrupted interrupted)
      : where_(where), target_(target), interrupted_(std::move(interrupted)) {}

  // Waits until the target answers a datagram: ARP and learning done, guest up. Code::kTryAgain after
  // `limit`.
  Result<> await_answer(std::chrono::milliseconds limit) const;

  // Closed loop: a request when the answer to the last has come. Blocks in the kernel while it waits, as
  // applications do.
  Result<Block> udp_closed(std::uint32_t bytes, Nanoseconds duration) const;
  Result<Block> tcp_closed(std::uint32_t bytes, Nanoseconds duration) const;

  // Nanoseconds a round trip of `trips` in a closed loop, from the whole loop's time. With `instruments` each
  // trip is timed and recorded besides, as udp_closed does; for the self-test.
  Result<double> udp_trips(std::uint32_t bytes, std::uint64_t trips, bool instruments) const;

  // Open loop: requests fall due by a Poisson process of `rate` a second and are sent then, whether or not
  // earlier ones have been answered; a round trip counts from when it was due. The client spins, so that its
  // own sleep is not measured. Those in flight are bounded; a request that falls due while the bound is
  // reached waits, and the wait counts.
  Result<Block> udp_open(std::uint32_t bytes, double rate, Nanoseconds duration, std::uint64_t seed) const;
  Result<Block> tcp_open(std::uint32_t bytes, double rate, Nanoseconds duration, std::uint64_t seed) const;

  // Gbit/s of payload over one connection, as counted by the receiver.
  Result<double> tcp_stream(Nanoseconds duration) const;
  // Connections a second, each opened, used for one byte both ways and closed.
  Result<double> tcp_connections(Nanoseconds duration) const;
  // Sends datagrams one way as fast as it goes, which nothing answers; how many arrived, and the CPU time of
  // the calling thread.
  struct Flood {
    std::uint64_t arrived = 0;
    std::uint64_t client_cpu_ns = 0;
  };
  Result<Flood> udp_flood(std::uint32_t bytes, Nanoseconds duration) const;
  // The highest rate in datagrams a second of which not one is lost, searched by halving (RFC 2544, 26.1)
  // with trials of this length; 0 when even the lowest rate that is tried loses some.
  Result<double> udp_zero_loss(std::uint32_t bytes, Nanoseconds trial) const;

 private:
  const netlink::Namespace& where_;
  Target target_;
  Interrupted interrupted_;
};

}  // namespace vmlane::perf
