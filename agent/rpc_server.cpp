// SPDX-License-Identifier: Apache-2.0
#include "agent/rpc_server.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "core/names.h"

namespace vmlane::agent {

namespace fs = std::filesystem;

namespace {

constexpr mode_t kSocketMode = 0660;

Result<sockaddr_un> address_of(const fs::path& socket) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = socket.string();
  if (path.size() > names::kMaxSocketPath)
    return fail(Code::kInvalidConfig, "socket path " + path + " is longer than 107 bytes",
                "choose a shorter runDir");
  std::ranges::copy(path, address.sun_path);
  return address;
}

Result<Caller> caller_of(int fd) {
  ucred credentials{};
  socklen_t size = sizeof(credentials);
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
    return fail(io_error("cannot tell who connected", errno));
  return Caller{.uid = credentials.uid, .pid = credentials.pid};
}

}  // namespace

Result<RpcServer> RpcServer::listen(const fs::path& socket, gid_t group,
                                    std::map<std::string, MethodEntry> methods) {
  VMLANE_TRY(make_directory(socket.parent_path(), {.mode = 0755}));
  // Made under another name: under its own it accepts connections from the first moment.
  const fs::path unfinished = socket.parent_path() / ".agent.sock";
  VMLANE_ASSIGN(const sockaddr_un address, address_of(unfinished));
  VMLANE_TRY(address_of(socket));
  VMLANE_TRY(remove_file(unfinished));
  Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  constexpr int kBacklog = 64;
  const bool listening =
      listener && ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 &&
      ::chmod(unfinished.c_str(), kSocketMode) == 0 &&
      ::chown(unfinished.c_str(), static_cast<uid_t>(-1), group) == 0 &&
      ::listen(listener.get(), kBacklog) == 0 && ::rename(unfinished.c_str(), socket.c_str()) == 0;
  if (!listening) {
    Error error = io_error("cannot listen on " + socket.string(), errno);
    ::unlink(unfinished.c_str());
    return fail(std::move(error));
  }
  return RpcServer(std::move(listener), socket, std::move(methods));
}

RpcServer::~RpcServer() {
  if (listener_) ::unlink(socket_.c_str());
}

void RpcServer::add_to(std::vector<pollfd>& fds) const {
  fds.push_back({.fd = listener_.get(), .events = POLLIN, .revents = 0});
  for (const Client& client : clients_) {
    const int events = (client.closing ? 0 : POLLIN) | (client.unsent.empty() ? 0 : POLLOUT);
    fds.push_back({.fd = client.fd.get(), .events = static_cast<short>(events), .revents = 0});
  }
}

void RpcServer::serve(const std::vector<pollfd>& fds) {
  const auto ready = [&fds](int fd) {
    const auto found = std::ranges::find(fds, fd, &pollfd::fd);
    return found == fds.end() ? 0 : int{found->revents};
  };
  for (auto client = clients_.begin(); client != clients_.end();) {
    const int events = ready(client->fd.get());
    bool stays = (events & (POLLERR | POLLNVAL)) == 0;
    if (stays && (events & (POLLIN | POLLHUP)) != 0 && !client->closing) stays = receive(*client);
    if (stays && !client->unsent.empty()) stays = send(*client);
    if (client->closing && client->unsent.empty()) stays = false;
    client = stays ? std::next(client) : clients_.erase(client);
  }
  if (ready(listener_.get()) != 0) accept_clients();
}

void RpcServer::accept_clients() {
  for (;;) {
    Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) return;
    auto caller = caller_of(fd.get());
    if (!caller || clients_.size() >= kMaxClients) continue;
    caller->connection = ++connections_;
    clients_.push_back({.fd = std::move(fd), .caller = *caller, .received = {}, .unsent = {}});
  }
}

bool RpcServer::receive(Client& client) {
  std::array<char, 65536> bytes{};
  const ssize_t got = ::recv(client.fd.get(), bytes.data(), bytes.size(), 0);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (got == 0) {  // it may still wait for answers
    client.closing = true;
    return true;
  }
  client.received.append(bytes.data(), static_cast<std::size_t>(got));
  answer_lines(client);
  if (client.received.size() > kMaxRequest) {
    client.unsent += json_rpc::error_line(
        nullptr, json_rpc::Fault::kInvalidRequest,
        {Code::kDecode, "the request is longer than " + std::to_string(kMaxRequest) + " bytes", {}, nullptr});
    client.closing = true;
  }
  return true;
}

void RpcServer::answer_lines(Client& client) {
  std::size_t begin = 0;
  for (auto end = client.received.find('\n'); end != std::string::npos;
       end = client.received.find('\n', begin)) {
    const std::string line = client.received.substr(begin, end - begin);
    begin = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const auto message = parse_json(line, "request");
    client.unsent += message ? answer(*message, client.caller)
                             : json_rpc::error_line(nullptr, json_rpc::Fault::kParse, message.error());
  }
  client.received.erase(0, begin);
}

std::string RpcServer::answer(const Json& message, const Caller& caller) {
  if (message.is_array()) {  // a batch: each member for itself
    if (message.empty())
      return json_rpc::error_line(nullptr, json_rpc::Fault::kInvalidRequest,
                                  {Code::kDecode, "the batch is empty", {}, nullptr});
    Json answers = Json::array();
    for (const Json& member : message) {
      const std::string line =
          member.is_array() ? json_rpc::error_line(nullptr, json_rpc::Fault::kInvalidRequest,
                                                   {Code::kDecode, "a request is an object", {}, nullptr})
                            : answer(member, caller);
      if (!line.empty()) answers.push_back(Json::parse(line));
    }
    return answers.empty() ? std::string() : to_text(answers) + "\n";
  }
  const auto request = json_rpc::parse_request(message);
  if (!request) return json_rpc::error_line(nullptr, json_rpc::Fault::kInvalidRequest, request.error());
  const std::string line = answer_request(*request, caller);
  return request->notification ? std::string() : line;
}

std::string RpcServer::answer_request(const json_rpc::Request& request, const Caller& caller) {
  const auto method = methods_.find(request.method);
  if (method == methods_.end())
    return json_rpc::error_line(
        request.id, json_rpc::Fault::kNoMethod,
        {Code::kNotFound, "there is no method \"" + request.method + "\"", {}, nullptr});
  if (method->second.root_only && caller.uid != 0)
    return json_rpc::error_line(
        request.id, json_rpc::Fault::kServer,
        {Code::kKernel, "only root may call \"" + request.method + "\"", {}, nullptr});
  const auto result = method->second.call(request.params, caller);
  if (result) return json_rpc::result_line(request.id, *result);
  const bool of_params = result.error().code == Code::kInvalidConfig;
  return json_rpc::error_line(
      request.id, of_params ? json_rpc::Fault::kInvalidParams : json_rpc::Fault::kServer, result.error());
}

bool RpcServer::send(Client& client) {
  if (client.unsent.size() > kMaxUnsent) return false;
  while (!client.unsent.empty()) {
    const ssize_t sent = ::send(client.fd.get(), client.unsent.data(), client.unsent.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return errno == EAGAIN;
    client.unsent.erase(0, static_cast<std::size_t>(sent));
  }
  return true;
}

bool RpcServer::notify(std::uint64_t connection, const std::string& method, const Json& params) {
  const auto client = std::ranges::find_if(
      clients_, [&](const Client& candidate) { return candidate.caller.connection == connection; });
  if (client == clients_.end()) return false;
  client->unsent += json_rpc::notification_line(method, params);
  return client->unsent.size() <= kMaxUnsent;
}

}  // namespace vmlane::agent
