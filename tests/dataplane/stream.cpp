// SPDX-License-Identifier: Apache-2.0
#include "tests/dataplane/stream.h"

#include <algorithm>
#include <cstring>
#include <ostream>
#include <thread>

namespace vmlane::test {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kMost = 10'000'000;
constexpr std::uint64_t kOnTheirWay = 200;
// After the longest silence that a restart makes.
constexpr auto kQuiet = std::chrono::seconds(2);

}  // namespace

Stream::Stream(Nic& from, Nic& to, unsigned rate) : seen_(kMost) {
  const auto interval = std::chrono::nanoseconds(std::chrono::seconds(1)) / rate;
  sender_ = std::thread([this, &from, &to, interval] { send(from, to, interval); });
  receiver_ = std::thread([this, &to] { receive(to); });
}

Stream::~Stream() {
  stopping_ = true;
  if (sender_.joinable()) sender_.join();
  if (receiver_.joinable()) receiver_.join();
}

void Stream::send(Nic& from, const Nic& to, std::chrono::nanoseconds interval) {
  Frame frame = make_test_frame(to.mac, from.mac, std::string(64, '.'));
  auto due = Clock::now();
  for (std::uint64_t number = 0; !stopping_ && number < kMost; due += interval) {
    std::this_thread::sleep_until(due);
    std::memcpy(frame.data() + frame.size() - sizeof number, &number, sizeof number);
    // No more on their way than the receiver's ring has room for, however late its thread is.
    while (sent_ - received_ > kOnTheirWay || !from.guest->send(frame)) {
      if (stopping_) return;
      std::this_thread::sleep_for(interval);
    }
    sent_ = ++number;
  }
}

void Stream::receive(Nic& to) {
  std::optional<Clock::time_point> last;
  auto quiet_since = Clock::now();
  for (;;) {
    const auto frame = to.guest->receive_within(std::chrono::milliseconds(50));
    const auto now = Clock::now();
    if (!frame) {
      if (stopping_ && (received_ >= sent_ || now - quiet_since > kQuiet)) return;
      continue;
    }
    quiet_since = now;
    std::uint64_t number = 0;
    if (frame->bytes.size() < sizeof number) continue;
    std::memcpy(&number, frame->bytes.data() + frame->bytes.size() - sizeof number, sizeof number);
    if (number >= kMost) continue;
    if (last)
      longest_gap_ms_ =
          std::max(longest_gap_ms_, std::chrono::duration<double, std::milli>(now - *last).count());
    last = now;
    seen_[number]++;
    received_++;
  }
}

bool Stream::runs() const {
  constexpr std::uint64_t kMore = 300;
  const std::uint64_t before = received_;
  return eventually([&] { return received_ >= before + kMore; }, kPatience);
}

Stream::Outcome Stream::finish() {
  stopping_ = true;
  sender_.join();
  receiver_.join();
  Outcome outcome{.sent = sent_, .longest_gap_ms = longest_gap_ms_};
  for (std::uint64_t i = 0; i < outcome.sent; i++) {
    if (seen_[i] == 0) outcome.lost++;
    if (seen_[i] > 1) outcome.repeated += seen_[i] - 1;
  }
  return outcome;
}

std::ostream& operator<<(std::ostream& out, const Stream::Outcome& outcome) {
  return out << outcome.lost << " lost and " << outcome.repeated << " repeated of " << outcome.sent
             << ", longest gap " << outcome.longest_gap_ms << " ms";
}

}  // namespace vmlane::test
