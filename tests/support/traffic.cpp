// SPDX-License-Identifier: Apache-2.0
#include "tests/support/traffic.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/files.h"
#include "tests/support/process.h"

namespace vmlane::test {
namespace {

constexpr std::uint16_t kPort = 7007;

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

SocketAddress socket_address(const std::string& text) {
  const auto address = IpAddress::parse(text);
  if (!address) throw std::runtime_error(address.error().text());
  SocketAddress out;
  if (address->v6) {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&out.storage);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(kPort);
    std::ranges::copy(address->bytes, v6->sin6_addr.s6_addr);
    out.length = sizeof *v6;
  } else {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&out.storage);
    v4->sin_family = AF_INET;
    v4->sin_port = htons(kPort);
    std::memcpy(&v4->sin_addr, address->bytes.data(), sizeof v4->sin_addr);
    out.length = sizeof *v4;
  }
  return out;
}

// A socket of a namespace whose calls give up after ten seconds.
Fd socket_in(const std::string& netns, int family, int type) {
  std::optional<NetnsScope> scope;
  if (!netns.empty()) scope.emplace(netns);
  Fd fd(::socket(family, type | SOCK_CLOEXEC, 0));
  if (!fd) throw std::runtime_error(std::string("socket: ") + std::strerror(errno));
  const timeval limit{10, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  const int yes = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  return fd;
}

// Byte of the pattern at a position; 251 is prime, so that no shift by a power of two goes unseen.
std::uint8_t pattern(std::uint64_t position) {
  return static_cast<std::uint8_t>(position % 251);
}

std::string problem(const char* what) {
  return std::string(what) + ": " + std::strerror(errno);
}

std::string send_pattern(int fd, std::uint64_t bytes) {
  std::vector<std::uint8_t> chunk(251 * 512);
  for (std::size_t i = 0; i < chunk.size(); i++) chunk[i] = pattern(i);
  for (std::uint64_t sent = 0; sent < bytes;) {
    const std::size_t offset = sent % chunk.size();
    const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(chunk.size() - offset, bytes - sent));
    const ssize_t wrote = ::send(fd, chunk.data() + offset, size, MSG_NOSIGNAL);
    if (wrote <= 0) return problem("send");
    sent += static_cast<std::uint64_t>(wrote);
  }
  return {};
}

std::string receive_pattern(int fd, std::uint64_t bytes) {
  std::vector<std::uint8_t> buffer(1 << 18);
  for (std::uint64_t received = 0; received < bytes;) {
    const ssize_t got = ::recv(fd, buffer.data(), buffer.size(), 0);
    if (got < 0) return problem("recv");
    if (got == 0) return "the connection ended after " + std::to_string(received) + " bytes";
    for (ssize_t i = 0; i < got; i++, received++) {
      if (buffer[static_cast<std::size_t>(i)] != pattern(received))
        return "byte " + std::to_string(received) + " is wrong";
    }
  }
  return {};
}

}  // namespace

PingResult ping(const std::string& from_netns, const std::string& address, const PingOptions& options) {
  std::vector<std::string> argv = {"ping",
                                   "-n",
                                   "-q",
                                   "-i",
                                   "0.05",
                                   "-W",
                                   "1",
                                   "-c",
                                   std::to_string(options.count),
                                   "-s",
                                   std::to_string(options.payload)};
  if (options.dont_fragment) argv.insert(argv.end(), {"-M", "do"});
  argv.push_back(address);
  const auto result = run(argv, {.netns = from_netns});
  PingResult counted;
  counted.output = result.out + result.err;
  const auto line = result.out.find(" packets transmitted");
  if (line == std::string::npos) return counted;
  const auto start = result.out.rfind('\n', line) + 1;
  std::sscanf(result.out.c_str() + start, "%d packets transmitted, %d received", &counted.sent,
              &counted.received);
  return counted;
}

PingResult reach(const std::string& from_netns, const std::string& address, const PingOptions& options) {
  PingResult result;
  eventually(
      [&] {
        result = ping(from_netns, address, options);
        return result.all();
      },
      std::chrono::seconds(30));
  return result;
}

std::string tcp_transfer(const std::string& from_netns, const std::string& to_netns,
                         const std::string& address, std::uint64_t bytes) {
  const SocketAddress target = socket_address(address);
  const Fd listener = socket_in(to_netns, target.storage.ss_family, SOCK_STREAM);
  if (::bind(listener.get(), target.get(), target.length) != 0 || ::listen(listener.get(), 1) != 0)
    return problem("listen");
  const Fd client = socket_in(from_netns, target.storage.ss_family, SOCK_STREAM);
  if (::connect(client.get(), target.get(), target.length) != 0) return problem("connect");
  const Fd server(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!server) return problem("accept");
  const timeval limit{10, 0};
  ::setsockopt(server.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  std::string sender_problem;
  std::thread sender([&] { sender_problem = send_pattern(client.get(), bytes); });
  std::string receiver_problem = receive_pattern(server.get(), bytes);
  if (!receiver_problem.empty()) ::shutdown(client.get(), SHUT_RDWR);
  sender.join();
  return receiver_problem.empty() ? sender_problem : receiver_problem;
}

std::string udp_exchange(const std::string& from_netns, const std::string& to_netns,
                         const std::string& address, const std::string& text) {
  const SocketAddress target = socket_address(address);
  const Fd server = socket_in(to_netns, target.storage.ss_family, SOCK_DGRAM);
  if (::bind(server.get(), target.get(), target.length) != 0) return problem("bind");
  const Fd client = socket_in(from_netns, target.storage.ss_family, SOCK_DGRAM);
  if (::connect(client.get(), target.get(), target.length) != 0) return problem("connect");
  if (::send(client.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()))
    return problem("send");
  std::array<char, 65536> buffer{};
  SocketAddress peer;
  peer.length = sizeof peer.storage;
  const ssize_t got = ::recvfrom(server.get(), buffer.data(), buffer.size(), 0,
                                 reinterpret_cast<sockaddr*>(&peer.storage), &peer.length);
  if (got < 0) return problem("the server received nothing");
  if (::sendto(server.get(), buffer.data(), static_cast<std::size_t>(got), 0, peer.get(), peer.length) != got)
    return problem("reply");
  const ssize_t back = ::recv(client.get(), buffer.data(), buffer.size(), 0);
  if (back < 0) return problem("the client received nothing");
  return std::string(buffer.data(), static_cast<std::size_t>(back)) == text ? std::string()
                                                                            : std::string("the echo differs");
}

}  // namespace vmlane::test
