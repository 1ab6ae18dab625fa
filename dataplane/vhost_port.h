// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/address.h"
#include "core/error.h"
#include "dataplane/mailbox.h"
#include "dataplane/port.h"
#include "dataplane/ring_audit.h"

namespace vmlane::dataplane {

// A guest's NIC over vhost-user. QEMU has the socket and listens; the switch connects, so that either may
// come, go and come back. lib/vhost speaks the protocol and walks the rings; what is around it is here: when
// to connect, who learns of a guest that comes and goes, which rings are in use.
//
// Three threads meet here. The control thread connects and disconnects. lib/vhost's own thread tells that a
// device is ready or gone: what changes for the worker goes through the mailbox, and a device is given up
// only when the worker has let go of it. The worker receives and sends.
class VhostPort final : public Port {
 public:
  enum class State {
    kWaiting,    // nobody listens on the socket
    kRefused,    // the connection was refused, error() has why
    kConnected,  // the guest's driver is not ready
    kRunning,
  };

  struct Surroundings {
    Mailbox& worker;
    int epoll = -1;  // the worker's
    rte_mempool* pool = nullptr;
    std::function<void()> changed;  // a connection came or went; called from any thread
    // Others are to be told where the guest with this MAC is (SEND_RARP). Called by lib/vhost's thread, with
    // the rings' locks held: it must not wait for the worker.
    std::function<void(const MacAddress&)> announce;
  };

  VhostPort(std::string name, std::filesystem::path socket, const Surroundings& surroundings);
  // Control thread. Returns when the worker no longer uses the rings.
  ~VhostPort() override;

  // Control thread: connects if that can be done now. True when it is, or was, connected.
  bool connect();
  State state() const;
  std::string error() const { return error_; }
  const std::filesystem::path& socket() const { return socket_; }
  std::uint64_t features() const { return features_.load(); }
  // Ring pairs that the guest's driver uses.
  unsigned pairs() const { return pairs_.load(); }
  // What the guest did for which the port no longer looks at its rings, until its driver is reset.
  RingFault fault() const { return fault_.load(); }
  // How often that was so.
  std::uint64_t faults() const { return faults_.load(); }
  // Worker: looks at them again.
  void forgive();
  // Worker, when it was woken by a notification of this guest.
  void kicked(std::uint64_t now);

  unsigned receive(std::span<rte_mbuf*> frames, std::uint64_t now) override;
  void send(std::span<rte_mbuf*> frames) override;
  Offloads offloads() const override { return offloads_; }
  bool linked() const override { return device_ >= 0 && fault() == RingFault::kNone; }
  // Worker: frames that the guest has put into its rings and nobody has taken.
  std::uint64_t waiting() const;
  void arm() override;
  void disarm() override;

 private:
  friend struct VhostCallbacks;
  static constexpr unsigned kMaxRings = 256;

  // lib/vhost's thread.
  void device_ready(int device);
  void device_gone();
  void ring_changed(unsigned ring, bool ready);
  void connection_changed(bool connected);
  void message_begins();
  void message_handled();

  Result<> start();
  void stop();

  // Worker.
  void refresh();
  void watch_kicks();
  void unwatch_kicks();
  void look_again();
  void send_by_flow(std::span<rte_mbuf*> frames);
  // How many of the first frames the ring took; they are freed.
  std::size_t send_to(std::uint16_t ring, std::span<rte_mbuf*> frames);
  std::span<rte_mbuf*> prepared(std::span<rte_mbuf*> frames);
  bool accept(rte_mbuf& frame);
  // Whether the guest keeps to the rules in these rings; else they are let go.
  void audit(std::span<const std::uint16_t> rings);
  void let_go(RingFault fault);

  static constexpr unsigned kAuditEvery = 64;              // bursts that came in or found no room
  static constexpr std::uint64_t kIdleAudit = 10'000'000;  // nanoseconds between two while nothing comes in
  // Notifications in vain, in each of so many seconds after each other.
  static constexpr std::uint64_t kVainKicks = 500;
  static constexpr unsigned kVainSeconds = 2;

  const std::filesystem::path socket_;
  const Surroundings surroundings_;

  // Control thread.
  bool registered_ = false;
  std::string error_;

  // Of lib/vhost's thread, read by all.
  std::atomic<bool> connected_ = false;
  std::atomic<bool> lost_ = false;  // the connection ended, and the socket is still registered
  std::atomic<bool> running_ = false;
  std::atomic<std::uint64_t> features_ = 0;
  std::atomic<unsigned> pairs_ = 0;
  std::array<std::atomic<bool>, kMaxRings> ready_{};
  std::atomic<std::uint32_t> epoch_ = 0;     // counts changes of rings
  std::atomic<std::uint32_t> messages_ = 0;  // counts what locked the rings for a while
  // A message may unmap the guest's memory: no audit begins before it is handled, and it waits for one that
  // has begun.
  std::atomic<bool> in_message_ = false;
  std::atomic<bool> in_audit_ = false;
  std::atomic<RingFault> fault_ = RingFault::kNone;
  std::atomic<std::uint64_t> faults_ = 0;

  // Worker.
  int device_ = -1;
  std::uint32_t seen_epoch_ = 0;
  std::uint32_t seen_messages_ = 0;
  bool armed_ = false;
  Offloads offloads_;
  std::vector<std::uint16_t> from_guest_;  // rings that are ready
  std::vector<std::uint16_t> to_guest_;
  std::size_t next_ring_ = 0;
  std::vector<int> kicks_;  // watched descriptors
  unsigned bursts_ = 0;
  unsigned refusals_ = 0;
  std::uint64_t next_audit_ = 0;
  // Of the second that began at kicks_since_.
  std::uint64_t kicks_since_ = 0;
  std::uint64_t kicks_seen_ = 0;
  std::uint64_t received_before_ = 0;
  unsigned vain_seconds_ = 0;
};

}  // namespace vmlane::dataplane
