// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "dataplane/dpdk.h"
#include "dataplane/drop_reason.h"
#include "dataplane/mac_table.h"

namespace vmlane::dataplane {

inline constexpr unsigned kBurst = 32;  // lib/vhost takes no more at once

struct PortCounters {
  std::uint64_t received = 0;  // by the switch, from the port
  std::uint64_t received_bytes = 0;
  std::uint64_t sent = 0;
  std::uint64_t sent_bytes = 0;
  std::uint64_t segmented = 0;    // frames that the switch cut, as the receiver cannot
  std::uint64_t announced = 0;    // how often others were told where the guest is
  std::uint64_t checksummed = 0;  // and whose checksum it filled in
  std::uint64_t short_turns = 0;  // rounds that its frames were too costly for kBurst of them
  std::array<std::uint64_t, kDropReasons> dropped{};
};

// What comes in may wait for a checksum or be longer than the network's frames. Such a frame is passed on as
// it is to a receiver that does the rest by itself, as virtio devices may; for others the switch does it.
struct Offloads {
  bool checksum = false;
  bool tso4 = false;
  bool tso6 = false;
};

// One end of the switch, as its worker uses it: a guest's rings or an uplink. In between, the state of a
// frame's offloads stands in its mbuf as DPDK has it for transmission: RTE_MBUF_F_TX_TCP_CKSUM or _UDP_CKSUM
// where the checksum field has only the pseudo header's sum, RTE_MBUF_F_TX_TCP_SEG and tso_segsz where there
// is to be segmented, with l2_len, l3_len and l4_len always.
class Port {
 public:
  explicit Port(std::string name) : name_(std::move(name)) {}
  virtual ~Port() = default;
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  const std::string& name() const { return name_; }

  // As many as there is room for in `frames`, kBurst at most. `now` is clock_ns().
  virtual unsigned receive(std::span<rte_mbuf*> frames, std::uint64_t now) = 0;
  // Sends what the port can take of `frames` and frees all. Frames ask for no offload that offloads() lacks.
  virtual void send(std::span<rte_mbuf*> frames) = 0;
  virtual Offloads offloads() const = 0;
  virtual bool linked() const = 0;

  // Before its worker blocks: from now on a frame that can be received makes the worker's epoll ready. The
  // caller calls receive() once more, for what came in between.
  virtual void arm() = 0;
  // When the worker is awake again: notifications would only cost the sender time.
  virtual void disarm() = 0;

  void drop(DropReason reason) { counters.dropped[static_cast<std::size_t>(reason)]++; }

  PortId id = 0;
  std::uint32_t mtu = 0;  // of IP
  PortCounters counters;

 private:
  std::string name_;
};

}  // namespace vmlane::dataplane
