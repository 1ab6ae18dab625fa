// SPDX-License-Identifier: Apache-2.0
#include "dataplane/worker.h"

#include <poll.h>
#include <pthread.h>
#include <rte_lcore.h>
#include <sched.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <future>
#include <utility>

#include "dataplane/vhost_port.h"

namespace vmlane::dataplane {

Result<std::unique_ptr<Worker>> Worker::create(const WorkerOptions& options, rte_mempool* pool) {
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return fail(kernel_error("cannot make an epoll descriptor", errno));
  VMLANE_ASSIGN(auto mailbox, Mailbox::create());
  epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, mailbox->descriptor(), &event) != 0)
    return fail(kernel_error("cannot watch the worker's mailbox", errno));
  return std::unique_ptr<Worker>(new Worker(options, pool, std::move(mailbox), std::move(epoll)));
}

Worker::Worker(const WorkerOptions& options, rte_mempool* pool, std::unique_ptr<Mailbox> mailbox, Fd epoll)
    : options_(options),
      mailbox_(std::move(mailbox)),
      epoll_(std::move(epoll)),
      forwarder_(pool),
      window_(options.cpu_budget) {}

Worker::~Worker() {
  stop();
}

Result<> Worker::start() {
  std::promise<Result<>> ready;
  auto started = ready.get_future();
  thread_ = std::thread([this, &ready] {
    ::pthread_setname_np(::pthread_self(), "vmlane-worker");
    if (options_.cpu) {
      cpu_set_t cpus;
      CPU_ZERO(&cpus);
      CPU_SET(*options_.cpu, &cpus);
      if (::sched_setaffinity(0, sizeof cpus, &cpus) != 0) {
        ready.set_value(fail(kernel_error("cannot run on CPU " + std::to_string(*options_.cpu), errno)));
        return;
      }
    }
    // Gives the thread a cache of the buffers' pool.
    if (rte_thread_register() != 0) {
      ready.set_value(fail(Code::kInternal, "DPDK takes no more threads"));
      return;
    }
    ready.set_value({});
    loop();
    rte_thread_unregister();
  });
  auto result = started.get();
  if (!result) thread_.join();
  return result;
}

void Worker::stop() {
  if (!thread_.joinable()) return;
  stopping_ = true;
  mailbox_->wake();
  thread_.join();
}

void Worker::hold(bool held) {
  mailbox_->run([this, held] { held_ = held; });
}

void Worker::announce(Port& port, const MacAddress& mac) {
  if (!held_) forwarder_.announce(port, mac, clock_ns());
}

void Worker::account(unsigned moved, std::uint64_t now) {
  const std::uint64_t took = now - round_began_;
  round_began_ = now;
  if (moved == 0) {
    times_.spinning += took;
    window_.spent(took, took);
    return;
  }
  window_.arrived(now - last_frame_);
  last_frame_ = now;
  times_.busy += took;
  times_.rounds++;
  constexpr std::uint64_t kFirst = WorkerTimes::longest_of(0);
  times_.rounds_by_length[std::min<std::size_t>(std::bit_width(took / kFirst), WorkerTimes::kLengths - 1)]++;
  window_.spent(0, took);
}

bool Worker::may_block(std::uint64_t now) const {
  switch (options_.mode) {
    case WorkerMode::kPoll:
      return false;
    case WorkerMode::kInterrupt:
      return true;
    case WorkerMode::kAdaptive:
      break;
  }
  return now - last_frame_ >= window_.window();
}

void Worker::block() {
  constexpr int kEvents = 64;
  std::array<epoll_event, kEvents> events;
  int count = 0;
  const std::uint64_t before = clock_ns();
  if (!mailbox_->pending() && !stopping_) {
    count = ::epoll_wait(epoll_.get(), events.data(), kEvents, -1);
    times_.wakes++;
  }
  const std::uint64_t after = clock_ns();
  for (int i = 0; i < count; i++) {
    if (void* port = events[static_cast<std::size_t>(i)].data.ptr)
      static_cast<VhostPort*>(port)->kicked(after);
  }
  times_.blocked += after - before;
  window_.spent(0, after - before);
  round_began_ = after;
}

void Worker::wait_for_mail() {
  pollfd waiting{.fd = mailbox_->descriptor(), .events = POLLIN, .revents = 0};
  if (!mailbox_->pending() && !stopping_) ::poll(&waiting, 1, -1);
  round_began_ = clock_ns();
}

void Worker::loop() {
  round_began_ = last_frame_ = clock_ns();
  while (!stopping_) {
    if (mailbox_->pending()) mailbox_->drain();
    if (held_) {
      wait_for_mail();
      continue;
    }
    unsigned moved = forwarder_.round(round_began_);
    std::uint64_t now = clock_ns();
    account(moved, now);
    times_.window = window_.window();
    if (moved != 0 || !may_block(now)) {
      if (moved == 0) rte_pause();
      continue;
    }
    forwarder_.arm();
    moved = forwarder_.round(now);
    now = clock_ns();
    account(moved, now);
    if (moved == 0) block();
    forwarder_.disarm();
    // What the wake-up was for is looked for once more, however little looking pays.
  }
  mailbox_->close();
}

}  // namespace vmlane::dataplane
