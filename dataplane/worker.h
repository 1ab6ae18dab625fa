// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "core/error.h"
#include "core/files.h"
#include "dataplane/forwarder.h"
#include "dataplane/mailbox.h"
#include "dataplane/spin_window.h"

namespace vmlane::dataplane {

enum class WorkerMode {
  kAdaptive,   // looks for frames for as long as that pays, then blocks
  kPoll,       // never blocks
  kInterrupt,  // blocks at once
};

struct WorkerOptions {
  WorkerMode mode = WorkerMode::kAdaptive;
  unsigned cpu_budget = 100;    // percent of a CPU that may go into looking in vain; 100 is no cap
  std::optional<unsigned> cpu;  // that the worker stays on
};

// Nanoseconds of a worker's life.
struct WorkerTimes {
  std::uint64_t busy = 0;      // in rounds that moved frames
  std::uint64_t spinning = 0;  // looking in vain
  std::uint64_t blocked = 0;   // without using a CPU
  std::uint64_t wakes = 0;     // how often it was woken
  std::uint64_t rounds = 0;    // that moved frames
  std::uint64_t window = 0;    // for which it looks at present

  // Rounds that moved frames, by how long they took: up to longest_of(i), and the last ones longer.
  static constexpr std::size_t kLengths = 16;
  static constexpr std::uint64_t longest_of(std::size_t i) { return std::uint64_t{1024} << i; }
  std::array<std::uint64_t, kLengths> rounds_by_length{};
};

// The thread that moves frames. It is always in one of three states:
//
//   spin   look at all ports, round after round, until nothing has come for the spin window
//   arm    ask guests for notifications, and look once more for what came before they knew
//   block  in epoll, on the kick descriptors of guests, on uplinks, and on the mailbox
//
// All that it uses is its own; others have it changed through the mailbox.
class Worker {
 public:
  static Result<std::unique_ptr<Worker>> create(const WorkerOptions& options, rte_mempool* pool);
  // Ends the thread. No port may be left.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  Result<> start();
  void stop();
  // Held, it moves no frame, and does only what comes by its mailbox. Returns when that is so: nothing is on
  // its way then, since each round ends with all that it took.
  void hold(bool held);
  // Only within mailbox().run() and post(): as the forwarder's, unless it is held.
  void announce(Port& port, const MacAddress& mac);

  Mailbox& mailbox() { return *mailbox_; }
  int epoll() const { return epoll_.get(); }
  // Only within mailbox().run() and post().
  Forwarder& forwarder() { return forwarder_; }
  WorkerTimes times() const { return times_; }

 private:
  Worker(const WorkerOptions& options, rte_mempool* pool, std::unique_ptr<Mailbox> mailbox, Fd epoll);
  void loop();
  void account(unsigned moved, std::uint64_t now);
  bool may_block(std::uint64_t now) const;
  void block();
  void wait_for_mail();

  const WorkerOptions options_;
  std::unique_ptr<Mailbox> mailbox_;
  const Fd epoll_;
  Forwarder forwarder_;
  SpinWindow window_;
  WorkerTimes times_;
  std::uint64_t round_began_ = 0;
  std::uint64_t last_frame_ = 0;
  bool held_ = false;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace vmlane::dataplane
