// SPDX-License-Identifier: Apache-2.0
#include "perf/client.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <optional>
#include <random>
#include <vector>

#include "core/files.h"
#include "perf/timing.h"
#include "perf/wire.h"

namespace vmlane::perf {
namespace {

using Buffer = std::array<std::uint8_t, 65536>;

std::uint32_t new_stream() {
  static std::atomic<std::uint32_t> last = static_cast<std::uint32_t>(now_ns());
  return ++last;
}

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

SocketAddress socket_address(const IpAddress& address, std::uint16_t port) {
  SocketAddress out;
  if (address.v6) {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&out.storage);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    std::memcpy(&v6->sin6_addr, address.bytes.data(), sizeof v6->sin6_addr);
    out.size = sizeof *v6;
  } else {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&out.storage);
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    std::memcpy(&v4->sin_addr, address.bytes.data(), sizeof v4->sin_addr);
    out.size = sizeof *v4;
  }
  return out;
}

timeval as_timeval(Nanoseconds time) {
  const auto microseconds = std::chrono::duration_cast<std::chrono::microseconds>(time).count();
  return {.tv_sec = microseconds / 1'000'000, .tv_usec = microseconds % 1'000'000};
}

// Connected, with kPatience as its time limits.
Result<Fd> connected(const netlink::Namespace& where, const Target& target, int type, std::uint16_t port) {
  const SocketAddress address = socket_address(target.address, port);
  VMLANE_ASSIGN(Fd fd, where.run<Fd>([&]() -> Result<Fd> {
    Fd made(::socket(address.storage.ss_family, type | SOCK_CLOEXEC, 0));
    if (!made) return fail(kernel_error("cannot make a socket", errno));
    return made;
  }));
  const timeval limit = as_timeval(kPatience);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  const int on = 1;
  if (type == SOCK_STREAM) ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (::connect(fd.get(), address.get(), address.size) != 0)
    return fail(io_error("cannot connect to " + target.address.to_string() + ", port " + std::to_string(port),
                         errno));
  return fd;
}

// What a block records besides its samples.
class Stopwatch {
 public:
  void finish(Block& block) const {
    block.wall_ns = now_ns() - wall_;
    block.client_cpu_ns = read_clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_;
  }

 private:
  std::uint64_t cpu_ = read_clock_ns(CLOCK_THREAD_CPUTIME_ID);
  std::uint64_t wall_ = now_ns();
};

// Receives until the answer to `header` is there and gives the moment it was; the time that looking at it
// takes is ours and does not count. Answers to earlier requests, which were given up, are passed over.
std::optional<std::uint64_t> receive_answer(int socket, std::span<std::uint8_t> buffer, std::size_t bytes,
                                            const Header& header) {
  for (;;) {
    const ssize_t got = ::recv(socket, buffer.data(), buffer.size(), 0);
    const std::uint64_t now = now_ns();
    if (got < 0) return std::nullopt;
    if (static_cast<std::size_t>(got) == bytes && is_datagram(buffer.first(bytes), header)) return now;
  }
}

// Exactly `bytes`, or false.
bool receive_exactly(int socket, std::span<std::uint8_t> buffer) {
  while (!buffer.empty()) {
    const ssize_t got = ::recv(socket, buffer.data(), buffer.size(), 0);
    if (got <= 0) return false;
    buffer = buffer.subspan(static_cast<std::size_t>(got));
  }
  return true;
}

bool send_all(int socket, std::span<const std::uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
  return true;
}

// When each request of an open loop is due, in nanoseconds from its start.
std::vector<std::uint64_t> poisson_schedule(double rate, Nanoseconds duration, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::exponential_distribution<double> gap(rate / 1e9);
  std::vector<std::uint64_t> due;
  const auto end = static_cast<double>(duration.count());
  double at = gap(random);
  while (at < end) {
    due.push_back(static_cast<std::uint64_t>(at));
    at += gap(random);
  }
  return due;
}

// The part of an open loop that is the same for datagrams and a stream: what is sent when, and what an answer
// counts as. Answers come in any order for datagrams.
class OpenLoop {
 public:
  OpenLoop(const std::vector<std::uint64_t>& due, Block& block)
      : due_(due), block_(block), answered_(due.size()) {}

  static constexpr std::size_t kMaxInFlight = 1024;

  bool all_sent() const { return next_ == due_.size(); }
  bool all_answered() const { return answers_ == due_.size(); }
  // The request to be sent now, if one is.
  std::optional<std::uint64_t> to_send(std::uint64_t elapsed) const {
    if (all_sent() || elapsed < due_[next_] || next_ - answers_ >= kMaxInFlight) return std::nullopt;
    return next_;
  }
  void sent() {
    next_++;
    block_.sent++;
  }
  void answered(std::uint64_t sequence, std::uint64_t elapsed) {
    if (sequence >= next_ || answered_[sequence]) return;
    answered_[sequence] = true;
    answers_++;
    block_.histogram.record(elapsed - due_[sequence]);
  }
  void finish() { block_.lost += block_.sent - answers_; }

 private:
  const std::vector<std::uint64_t>& due_;
  Block& block_;
  std::vector<bool> answered_;
  std::size_t next_ = 0;
  std::size_t answers_ = 0;
};

// `send` sends the request of a number; `receive` takes what has come until now, and tells the loop. False of
// either ends it. Once everything is sent, answers that are on their way are waited for.
template <class Send, class Receive>
Block run_open_loop(const std::vector<std::uint64_t>& due, Nanoseconds duration,
                    const Interrupted& interrupted, Send send, Receive receive) {
  Block block;
  OpenLoop loop(due, block);
  const auto most = static_cast<std::uint64_t>((duration + kPatience).count());
  const Stopwatch stopwatch;
  const std::uint64_t start = now_ns();
  for (std::uint64_t elapsed = 0; !loop.all_answered() && elapsed <= most && !interrupted();
       elapsed = now_ns() - start) {
    if (const auto sequence = loop.to_send(elapsed)) {
      if (!send(*sequence)) break;
      loop.sent();
    }
    if (!receive(loop, start)) break;
  }
  loop.finish();
  stopwatch.finish(block);
  return block;
}

// Sends datagrams of a stream at `rate` a second (0: as fast as it goes) for `duration`, at most; gives how
// many and how long it took.
struct Offered {
  std::uint64_t sent = 0;
  double seconds = 0;
};
Offered offer(int socket, std::span<std::uint8_t> datagram, std::uint32_t stream, double rate,
              Nanoseconds duration) {
  fill_datagram(datagram, {Kind::kCount, stream, 0});
  const std::uint64_t start = now_ns();
  const auto length = static_cast<std::uint64_t>(duration.count());
  Offered offered;
  for (std::uint64_t elapsed = 0; elapsed < length; elapsed = now_ns() - start) {
    if (rate > 0 && static_cast<double>(offered.sent) > static_cast<double>(elapsed) * rate / 1e9) continue;
    if (::send(socket, datagram.data(), datagram.size(), 0) > 0) offered.sent++;
  }
  offered.seconds = static_cast<double>(now_ns() - start) / 1e9;
  return offered;
}

// How many datagrams of the stream arrived. A query may be lost itself.
std::optional<std::uint64_t> query(int socket, std::uint32_t stream) {
  Buffer buffer;
  constexpr int kAttempts = 5;
  for (int attempt = 0; attempt < kAttempts; attempt++) {
    const Header header{Kind::kQuery, stream, 0};
    std::array<std::uint8_t, kMinBytes> datagram{};
    fill_datagram(datagram, header);
    ::send(socket, datagram.data(), datagram.size(), 0);
    Header answer;
    while (::recv(socket, buffer.data(), buffer.size(), 0) == static_cast<ssize_t>(sizeof answer)) {
      std::memcpy(&answer, buffer.data(), sizeof answer);
      if (answer.kind == Kind::kQuery && answer.stream == stream) return answer.sequence;
    }
  }
  return std::nullopt;
}

std::unexpected<Error> silent(const Target& target) {
  return fail(Code::kTryAgain, target.address.to_string() + " does not answer");
}

}  // namespace

Result<> Client::await_answer(std::chrono::milliseconds limit) const {
  VMLANE_ASSIGN(const Fd socket, connected(where_, target_, SOCK_DGRAM, kUdpPort));
  const timeval pause = as_timeval(std::chrono::milliseconds(2));
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &pause, sizeof pause);
  Buffer buffer;
  std::array<std::uint8_t, kMinBytes> datagram{};
  const std::uint64_t start = now_ns();
  const auto most = static_cast<std::uint64_t>(Nanoseconds(limit).count());
  for (std::uint64_t sequence = 0; now_ns() - start < most && !interrupted_(); sequence++) {
    const Header header{Kind::kEcho, 0, sequence};
    fill_datagram(datagram, header);
    // A refused port, too, is no answer yet.
    if (::send(socket.get(), datagram.data(), datagram.size(), 0) < 0) ::poll(nullptr, 0, 2);
    if (receive_answer(socket.get(), buffer, kMinBytes, header)) return {};
  }
  return silent(target_);
}

Result<Block> Client::udp_closed(std::uint32_t bytes, Nanoseconds duration) const {
  VMLANE_ASSIGN(const Fd socket, connected(where_, target_, SOCK_DGRAM, kUdpPort));
  Buffer buffer;
  std::vector<std::uint8_t> datagram(std::max(bytes, kMinBytes));
  Block block;
  const Stopwatch stopwatch;
  const std::uint64_t end = now_ns() + static_cast<std::uint64_t>(duration.count());
  for (std::uint64_t now = now_ns(); now < end && !interrupted_();) {
    const Header header{Kind::kEcho, 0, block.sent++};
    fill_datagram(datagram, header);
    const std::uint64_t before = now_ns();
    ::send(socket.get(), datagram.data(), datagram.size(), 0);
    const auto answered = receive_answer(socket.get(), buffer, datagram.size(), header);
    if (answered)
      block.histogram.record(*answered - before);
    else
      block.lost++;
    now = answered.value_or(now_ns());
  }
  stopwatch.finish(block);
  return block;
}

Result<double> Client::udp_trips(std::uint32_t bytes, std::uint64_t trips, bool instruments) const {
  VMLANE_ASSIGN(const Fd socket, connected(where_, target_, SOCK_DGRAM, kUdpPort));
  Buffer buffer;
  std::vector<std::uint8_t> datagram(std::max(bytes, kMinBytes));
  fill_datagram(datagram, {Kind::kEcho, 0, 0});
  Histogram histogram;
  const std::uint64_t start = now_ns();
  for (std::uint64_t i = 0; i < trips; i++) {
    const std::uint64_t before = instruments ? now_ns() : 0;
    ::send(socket.get(), datagram.data(), datagram.size(), 0);
    if (::recv(socket.get(), buffer.data(), buffer.size(), 0) < 0) return silent(target_);
    if (instruments) histogram.record(now_ns() - before);
  }
  return static_cast<double>(now_ns() - start) / static_cast<double>(trips);
}

Result<Block> Client::tcp_closed(std::uint32_t bytes, Nanoseconds duration) const {
  VMLANE_ASSIGN(const Fd socket, connected(where_, target_, SOCK_STREAM, kEchoPort));
  std::vector<std::uint8_t> request(std::max(bytes, kMinBytes));
  std::vector<std::uint8_t> answer(request.size());
  Block block;
  const Stopwatch stopwatch;
  const std::uint64_t end = now_ns() + static_cast<std::uint64_t>(duration.count());
  for (std::uint64_t now = now_ns(); now < end && !interrupted_();) {
    const Header header{Kind::kEcho, 0, block.sent++};
    fill_datagram(request, header);
    const std::uint64_t before = now_ns();
    if (!send_all(socket.get(), request) || !receive_exactly(socket.get(), answer)) {
      block.lost++;
      break;  // a stream that stalls that long has nothing more to say
    }
    now = now_ns();
    if (is_datagram(answer, header))
      block.histogram.record(now - before);
    else
      block.lost++;
  }
  stopwatch.finish(block);
  return block;
}

Result<Block> Client::udp_open(std::uint32_t bytes, double rate, Nanoseconds duration,
                               std::uint64_t seed) const {
  VMLANE_ASSIGN(const Fd socket, connected(where_, target_, SOCK_DGRAM, kUdpPort));
  const std::uint32_t stream = new_stream();
  Buffer buffer;
  std::vector<std::uint8_t> datagram(std::max(bytes, kMinBytes));
  const auto send = [&](std::uint64_t sequence) {
    fill_datagram(datagram, {Kind::kEcho, stream, sequence});
    ::send(socket.get(), datagram.data(), datagram.size(), 0);  // one that is not taken counts as lost
    return true;
  };
  const auto receive = [&](OpenLoop& loop, std::uint64_t start) {
    const ssize_t got = ::recv(socket.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got != static_cast<ssize_t>(datagram.size())) return true;
    const std::uint64_t arrived = now_ns() - start;
    Header header;
    std::memcpy(&header, buffer.data(), sizeof header);
    const auto answer = std::span<const std::uint8_t>(buffer).first(datagram.size());
    if (header.stream == stream && is_datagram(answer, header)) loop.answered(header.sequence, arrived);
    return true;
  };
  return run_open_loop(poisson_schedule(rate, duration, seed), duration, interrupted_, send, receive);
}

Result<Block> Client::tcp_open(std::uint32_t bytes, double rate, Nanoseconds duration,
                               std::uint64_t seed) const {
  VMLANE_ASSIGN(const Fd socket, connected(where_, target_, SOCK_STREAM, kEchoPort));
  Buffer buffer;
  std::vector<std::uint8_t> request(std::max(bytes, kMinBytes));
  std::vector<std::uint8_t> answer(request.size());
  std::size_t received = 0;  // of the answer that is arriving
  std::uint64_t next_answer = 0;
  const auto send = [&](std::uint64_t sequence) {
    fill_datagram(request, {Kind::kEcho, 0, sequence});
    return send_all(socket.get(), request);
  };
  const auto receive = [&](OpenLoop& loop, std::uint64_t start) {
    const ssize_t got = ::recv(socket.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    const std::uint64_t arrived = now_ns() - start;
    for (ssize_t i = 0; i < got; i++) {
      answer[received++] = buffer[static_cast<std::size_t>(i)];
      if (received < answer.size()) continue;
      received = 0;
      if (is_datagram(answer, {Kind::kEcho, 0, next_answer})) loop.answered(next_answer, arrived);
      next_answer++;
    }
    return got != 0;
  };
  return run_open_loop(poisson_schedule(rate, duration, seed), duration, interrupted_, send, receive);
}

Result<double> Client::tcp_stream(Nanoseconds duration) const {
  VMLANE_ASSIGN(const Fd socket, connected(where_, target_, SOCK_STREAM, kSinkPort));
  const timeval patience = as_timeval(std::chrono::seconds(5));
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  const std::vector<std::uint8_t> chunk(std::size_t{128} << 10);
  const std::uint64_t start = now_ns();
  const std::uint64_t end = start + static_cast<std::uint64_t>(duration.count());
  while (now_ns() < end && !interrupted_()) {
    // Part of a chunk is as good as all of it; a send that timed out is tried again.
    if (::send(socket.get(), chunk.data(), chunk.size(), MSG_NOSIGNAL) < 0 && errno != EAGAIN)
      return fail(io_error("the stream to " + target_.address.to_string() + " broke", errno));
  }
  ::shutdown(socket.get(), SHUT_WR);
  std::uint64_t count = 0;
  std::array<std::uint8_t, sizeof count> answer{};
  if (!receive_exactly(socket.get(), answer)) return silent(target_);
  const std::uint64_t took = now_ns() - start;
  std::memcpy(&count, answer.data(), sizeof count);
  return static_cast<double>(count) * 8 / static_cast<double>(took);
}

Result<double> Client::tcp_connections(Nanoseconds duration) const {
  const std::uint64_t start = now_ns();
  const std::uint64_t end = start + static_cast<std::uint64_t>(duration.count());
  std::uint64_t count = 0;
  while (now_ns() < end && !interrupted_()) {
    VMLANE_ASSIGN(const Fd socket, connected(where_, target_, SOCK_STREAM, kEchoPort));
    std::array<std::uint8_t, 1> byte{};
    if (!send_all(socket.get(), byte) || !receive_exactly(socket.get(), byte)) return silent(target_);
    // Ended by a reset: thousands of connections a second would use up the ports while they time out.
    const linger reset{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    count++;
  }
  return static_cast<double>(count) * 1e9 / static_cast<double>(now_ns() - start);
}

Result<Client::Flood> Client::udp_flood(std::uint32_t bytes, Nanoseconds duration) const {
  VMLANE_ASSIGN(const Fd socket, connected(where_, target_, SOCK_DGRAM, kUdpPort));
  std::vector<std::uint8_t> datagram(std::max(bytes, kMinBytes));
  const std::uint32_t stream = new_stream();
  const std::uint64_t before = read_clock_ns(CLOCK_THREAD_CPUTIME_ID);
  offer(socket.get(), datagram, stream, 0, duration);
  const std::uint64_t spent = read_clock_ns(CLOCK_THREAD_CPUTIME_ID) - before;
  const auto arrived = query(socket.get(), stream);
  if (!arrived) return silent(target_);
  return Flood{*arrived, spent};
}

Result<double> Client::udp_zero_loss(std::uint32_t bytes, Nanoseconds trial) const {
  VMLANE_ASSIGN(const Fd socket, connected(where_, target_, SOCK_DGRAM, kUdpPort));
  std::vector<std::uint8_t> datagram(std::max(bytes, kMinBytes));
  // The rate that was offered, and whether all of it arrived.
  const auto try_rate = [&](double rate) -> Result<std::pair<double, bool>> {
    const std::uint32_t stream = new_stream();
    const Offered offered = offer(socket.get(), datagram, stream, rate, trial);
    const auto arrived = query(socket.get(), stream);
    if (!arrived) return silent(target_);
    return std::pair(static_cast<double>(offered.sent) / offered.seconds, *arrived == offered.sent);
  };
  VMLANE_ASSIGN(const auto flat_out, try_rate(0));
  if (flat_out.second) return flat_out.first;
  double good = 0;
  double bad = flat_out.first;
  constexpr double kResolution = 0.02;
  while (bad - good > kResolution * flat_out.first && !interrupted_()) {
    VMLANE_ASSIGN(const auto found, try_rate((good + bad) / 2));
    (found.second ? good : bad) = (good + bad) / 2;
  }
  return good;
}

}  // namespace vmlane::perf
