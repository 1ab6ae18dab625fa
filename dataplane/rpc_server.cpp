// SPDX-License-Identifier: Apache-2.0
#include "dataplane/rpc_server.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "core/json_rpc.h"
#include "core/names.h"

namespace vmlane::dataplane {
namespace {

Result<sockaddr_un> address_of(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.native().size() > names::kMaxSocketPath)
    return fail(Code::kInvalidConfig, "socket path " + path.string() + " is longer than 107 bytes",
                "choose a shorter runDir in the node config");
  std::ranges::copy(path.native(), address.sun_path);
  return address;
}

Result<> refuse_living(const std::filesystem::path& path, const sockaddr_un& address) {
  const Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe) return fail(io_error("cannot make a socket", errno));
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the interface of sockets
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
  return fail(Code::kConflict, "another switch serves " + path.string() + " already",
              "a node has one; another node on this machine needs a runDir of its own");
}

}  // namespace

Result<std::unique_ptr<RpcServer>> RpcServer::listen(const std::filesystem::path& path, gid_t group,
                                                     int epoll) {
  constexpr int kBacklog = 16;
  constexpr mode_t kMode = 0660;
  VMLANE_ASSIGN(const sockaddr_un address, address_of(path));
  VMLANE_TRY(refuse_living(path, address));
  VMLANE_TRY(remove_file(path));
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail(io_error("cannot make a socket", errno));
  const mode_t old = ::umask(0177);
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the interface of sockets
  const int bound = ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int reason = errno;
  ::umask(old);
  if (bound != 0) return fail(io_error("cannot make " + path.string(), reason));
  // An unprivileged switch may only be able to keep the group that it has.
  if (::chown(path.c_str(), static_cast<uid_t>(-1), group) != 0 && errno != EPERM)
    return fail(io_error("cannot give " + path.string() + " to group " + std::to_string(group), errno));
  if (::chmod(path.c_str(), kMode) != 0)
    return fail(io_error("cannot open " + path.string() + " to its group", errno));
  if (::listen(fd.get(), kBacklog) != 0) return fail(io_error("cannot listen on " + path.string(), errno));
  epoll_event event{.events = EPOLLIN, .data = {.fd = fd.get()}};
  if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd.get(), &event) != 0)
    return fail(kernel_error("cannot watch " + path.string(), errno));
  return std::unique_ptr<RpcServer>(new RpcServer(path, std::move(fd), epoll));
}

RpcServer::RpcServer(std::filesystem::path path, Fd socket, int epoll)
    : path_(std::move(path)), socket_(std::move(socket)), epoll_(epoll) {}

RpcServer::~RpcServer() {
  ::unlink(path_.c_str());
}

bool RpcServer::ready(int descriptor) {
  if (descriptor == socket_.get()) {
    accept();
    return true;
  }
  const auto found = clients_.find(descriptor);
  if (found == clients_.end()) return false;
  Client& client = found->second;
  const bool alive = read(client) && write(client);
  if (!alive || (client.ended && client.out.empty())) clients_.erase(found);
  return true;
}

void RpcServer::accept() {
  Fd fd(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd || clients_.size() >= kMaxClients) return;
  epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLET, .data = {.fd = fd.get()}};
  if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd.get(), &event) != 0) return;
  const int number = fd.get();
  clients_[number].socket = std::move(fd);
}

bool RpcServer::read(Client& client) {
  std::array<char, 4096> bytes;
  for (;;) {
    const ssize_t got = ::recv(client.socket.get(), bytes.data(), bytes.size(), 0);
    if (got == 0) client.ended = true;
    if (got == 0 || (got < 0 && errno == EAGAIN)) return true;
    if (got < 0 && errno != EINTR) return false;
    if (got < 0) continue;
    client.in.append(bytes.data(), static_cast<std::size_t>(got));
    for (auto end = client.in.find('\n'); end != std::string::npos; end = client.in.find('\n')) {
      client.out += answer(std::string_view(client.in).substr(0, end));
      client.in.erase(0, end + 1);
    }
    if (client.in.size() > kMaxRequest) return false;
  }
}

bool RpcServer::write(Client& client) {
  while (!client.out.empty()) {
    const ssize_t sent = ::send(client.socket.get(), client.out.data(), client.out.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return errno == EAGAIN;
    client.out.erase(0, static_cast<std::size_t>(sent));
  }
  return true;
}

std::string RpcServer::answer(std::string_view line) const {
  using json_rpc::Fault;
  const auto json = parse_json(line, "the request");
  if (!json) return json_rpc::error_line(nullptr, Fault::kParse, json.error());
  const auto request = json_rpc::parse_request(*json);
  if (!request) return json_rpc::error_line(nullptr, Fault::kInvalidRequest, request.error());
  const auto handler = handlers_.find(request->method);
  if (handler == handlers_.end()) {
    const Error unknown{Code::kInvalidConfig, "there is no method " + request->method, {}, nullptr};
    return request->notification ? "" : json_rpc::error_line(request->id, Fault::kNoMethod, unknown);
  }
  const auto result = handler->second(request->params);
  if (request->notification) return "";
  return result ? json_rpc::result_line(request->id, *result)
                : json_rpc::error_line(request->id, Fault::kServer, result.error());
}

}  // namespace vmlane::dataplane
