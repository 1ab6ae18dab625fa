// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <vector>

#include "core/error.h"
#include "core/files.h"

namespace vmlane::dataplane {

// What one thread wants done by another, which looks here between two rounds of its work or is woken by the
// descriptor. All that a worker uses is changed this way, so that it takes no lock on the path of a frame.
class Mailbox {
 public:
  static Result<std::unique_ptr<Mailbox>> create();

  void post(std::function<void()> work);
  // Returns when the work is done; at once, without it, when the owner has closed the box.
  void run(const std::function<void()>& work);

  // For the owner.
  bool pending() const { return pending_.load(std::memory_order_acquire); }
  void drain();
  // Does what is left; from then on the box takes nothing.
  void close();
  int descriptor() const { return event_.get(); }
  // Nothing but that the owner is to look around once.
  void wake();

 private:
  explicit Mailbox(Fd event) : event_(std::move(event)) {}

  Fd event_;
  std::atomic<bool> pending_ = false;
  std::mutex mutex_;
  std::vector<std::function<void()>> works_;
  bool closed_ = false;
};

}  // namespace vmlane::dataplane
