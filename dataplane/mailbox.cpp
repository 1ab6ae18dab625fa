// SPDX-License-Identifier: Apache-2.0
#include "dataplane/mailbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <future>
#include <memory>
#include <utility>

namespace vmlane::dataplane {

Result<std::unique_ptr<Mailbox>> Mailbox::create() {
  Fd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) return fail(kernel_error("cannot make an event descriptor", errno));
  return std::unique_ptr<Mailbox>(new Mailbox(std::move(event)));
}

void Mailbox::wake() {
  const std::uint64_t one = 1;
  // Full means that it is readable already.
  [[maybe_unused]] const auto written = ::write(event_.get(), &one, sizeof one);
  // After that, so that whatever makes the descriptor readable is followed by a drain().
  pending_.store(true, std::memory_order_release);
}

void Mailbox::post(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    works_.push_back(std::move(work));
    pending_.store(true, std::memory_order_release);
  }
  wake();
}

void Mailbox::run(const std::function<void()>& work) {
  // Shared: the owner may still be in set_value() when the waiting side goes on.
  const auto done = std::make_shared<std::promise<void>>();
  auto finished = done->get_future();
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    works_.push_back([&work, done] {
      work();
      done->set_value();
    });
    pending_.store(true, std::memory_order_release);
  }
  wake();
  finished.wait();
}

void Mailbox::drain() {
  pending_.store(false, std::memory_order_release);
  std::uint64_t count = 0;
  [[maybe_unused]] const auto read = ::read(event_.get(), &count, sizeof count);
  std::vector<std::function<void()>> works;
  {
    const std::lock_guard lock(mutex_);
    works.swap(works_);
  }
  for (const auto& work : works) work();
}

void Mailbox::close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  drain();
}

}  // namespace vmlane::dataplane
