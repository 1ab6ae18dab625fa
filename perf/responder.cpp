// SPDX-License-Identifier: Apache-2.0
#include "perf/responder.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <span>
#include <thread>
#include <utility>

#include "core/files.h"
#include "perf/wire.h"

namespace vmlane::perf {
namespace {

// IPv6 sockets take IPv4 as well; a kernel without IPv6 has only the latter.
Result<Fd> bound_socket(int type, std::uint16_t port) {
  sockaddr_in6 any6{};
  any6.sin6_family = AF_INET6;
  any6.sin6_port = htons(port);
  sockaddr_in any4{};
  any4.sin_family = AF_INET;
  any4.sin_port = htons(port);
  Fd fd(::socket(AF_INET6, type | SOCK_CLOEXEC, 0));
  const bool v6 = static_cast<bool>(fd);
  if (!v6) fd = Fd(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
  const int on = 1;
  const int off = 0;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (v6) ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  const auto* address =
      v6 ? reinterpret_cast<const sockaddr*>(&any6) : reinterpret_cast<const sockaddr*>(&any4);
  const socklen_t size = v6 ? sizeof any6 : sizeof any4;
  if (::bind(fd.get(), address, size) != 0)
    return fail(io_error("cannot take port " + std::to_string(port), errno));
  return fd;
}

Result<Fd> listener(std::uint16_t port) {
  VMLANE_ASSIGN(Fd fd, bound_socket(SOCK_STREAM, port));
  constexpr int kBacklog = 1024;
  if (::listen(fd.get(), kBacklog) != 0)
    return fail(io_error("cannot listen on port " + std::to_string(port), errno));
  return fd;
}

void send_all(int fd, std::span<const char> bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
}

void echo(const Fd& connection) {
  const int on = 1;
  ::setsockopt(connection.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  std::array<char, 65536> buffer{};
  for (;;) {
    const ssize_t got = ::recv(connection.get(), buffer.data(), buffer.size(), 0);
    if (got <= 0) return;
    send_all(connection.get(), std::span(buffer).first(static_cast<std::size_t>(got)));
  }
}

void sink(const Fd& connection) {
  static std::array<char, 1 << 18> buffer;
  std::uint64_t count = 0;
  ssize_t got = 0;
  while ((got = ::recv(connection.get(), buffer.data(), buffer.size(), 0)) > 0)
    count += static_cast<std::uint64_t>(got);
  send_all(connection.get(), std::span(reinterpret_cast<const char*>(&count), sizeof count));
}

// One connection after the other: a measurement has one at a time, and a thread for each would be measured.
void serve(const Fd& listening, void (*handle)(const Fd&)) {
  for (;;) {
    const Fd connection(::accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (connection) handle(connection);
  }
}

Result<> answer_datagrams(const Fd& socket) {
  StreamCounter counter;
  std::array<std::uint8_t, 65536> buffer{};
  for (;;) {
    sockaddr_storage from{};
    socklen_t size = sizeof from;
    const ssize_t got =
        ::recvfrom(socket.get(), buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&from), &size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(io_error("cannot receive datagrams", errno));
    const auto payload = std::span(buffer).first(static_cast<std::size_t>(got));
    if (counter.answer(payload))
      ::sendto(socket.get(), payload.data(), payload.size(), 0, reinterpret_cast<const sockaddr*>(&from),
               size);
  }
}

}  // namespace

Result<> respond_on_tcp() {
  VMLANE_ASSIGN(Fd echoes, listener(kEchoPort));
  VMLANE_ASSIGN(Fd sinks, listener(kSinkPort));
  std::thread([listening = std::move(echoes)] { serve(listening, echo); }).detach();
  std::thread([listening = std::move(sinks)] { serve(listening, sink); }).detach();
  return {};
}

Result<> respond() {
  VMLANE_ASSIGN(const Fd datagrams, bound_socket(SOCK_DGRAM, kUdpPort));
  // A burst within a measured rate is not to be lost here.
  const int buffer = 4 << 20;
  ::setsockopt(datagrams.get(), SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
  VMLANE_TRY(respond_on_tcp());
  constexpr std::string_view kReady = "ready\n";
  if (::write(STDOUT_FILENO, kReady.data(), kReady.size()) < 0)
    return fail(io_error("cannot write to standard output", errno));
  return answer_datagrams(datagrams);
}

}  // namespace vmlane::perf
