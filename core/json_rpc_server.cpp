// SPDX-License-Identifier: Apache-2.0
#include "core/json_rpc_server.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "core/names.h"

namespace vmlane::json_rpc {

namespace fs = std::filesystem;

namespace {

constexpr mode_t kSocketMode = 0660;

Result<sockaddr_un> address_of(const fs::path& socket) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = socket.string();
  if (path.size() > names::kMaxSocketPath)
    return fail(Code::kInvalidConfig, "socket path " + path + " is longer than 107 bytes",
                "choose a shorter runDir in the node config");
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

// A dead server's socket accepts nobody.
Result<> refuse_served(const fs::path& socket) {
  VMLANE_ASSIGN(const sockaddr_un address, address_of(socket));
  const Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe) return fail(io_error("cannot make a socket", errno));
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) return {};
  return fail(Code::kConflict, "another program serves " + socket.string() + " already",
              "a node has one; another node on this machine needs a runDir of its own");
}

// An unprivileged daemon may only be able to keep the group that it has.
bool give_to(const fs::path& socket, gid_t group) {
  return ::chown(socket.c_str(), static_cast<uid_t>(-1), group) == 0 || errno == EPERM;
}

}  // namespace

Result<Server> Server::listen(const fs::path& socket, gid_t group, Methods methods) {
  VMLANE_TRY(make_directory(socket.parent_path(), {.mode = 0755}));
  VMLANE_TRY(refuse_served(socket));
  // Made under another name: under its own it accepts connections from the first moment.
  const fs::path unfinished = socket.parent_path() / ("." + socket.filename().string());
  VMLANE_ASSIGN(const sockaddr_un address, address_of(unfinished));
  VMLANE_TRY(remove_file(unfinished));
  Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  constexpr int kBacklog = 64;
  epoll_event event{.events = EPOLLIN, .data = {.fd = listener.get()}};
  const bool listening =
      listener && epoll &&
      ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 &&
      ::chmod(unfinished.c_str(), kSocketMode) == 0 && give_to(unfinished, group) &&
      ::listen(listener.get(), kBacklog) == 0 &&
      ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, listener.get(), &event) == 0 &&
      ::rename(unfinished.c_str(), socket.c_str()) == 0;
  if (!listening) {
    Error error = io_error("cannot listen on " + socket.string(), errno);
    ::unlink(unfinished.c_str());
    return fail(std::move(error));
  }
  return Server(std::move(listener), std::move(epoll), socket, std::move(methods));
}

Server::~Server() {
  if (listener_) ::unlink(socket_.c_str());
}

void Server::serve() {
  constexpr int kEvents = 16;
  std::array<epoll_event, kEvents> events{};
  const int count = ::epoll_wait(epoll_.get(), events.data(), kEvents, 0);
  for (int i = 0; i < count; i++) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    if (event.data.fd == listener_.get()) {
      accept_clients();
      continue;
    }
    const auto client = clients_.find(event.data.fd);
    if (client != clients_.end() && !serve(client->second, event.events)) clients_.erase(client);
  }
}

bool Server::serve(Client& client, std::uint32_t events) {
  if ((events & EPOLLERR) != 0) return false;
  if ((events & (EPOLLIN | EPOLLHUP)) != 0 && !client.closing && !receive(client)) return false;
  if (!client.unsent.empty() && !send(client)) return false;
  return !(client.closing && client.unsent.empty()) && wait_for_more(client);
}

bool Server::wait_for_more(Client& client) const {
  const std::uint32_t wanted = (client.closing ? 0U : EPOLLIN) | (client.unsent.empty() ? 0U : EPOLLOUT);
  if (wanted == client.events) return true;
  epoll_event event{.events = wanted, .data = {.fd = client.fd.get()}};
  const int how = client.events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  client.events = wanted;
  return ::epoll_ctl(epoll_.get(), how, client.fd.get(), &event) == 0;
}

void Server::accept_clients() {
  for (;;) {
    Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) return;
    auto caller = caller_of(fd.get());
    if (!caller || clients_.size() >= kMaxClients) continue;
    caller->connection = ++connections_;
    const int number = fd.get();
    Client& client = clients_[number];
    client = {.fd = std::move(fd), .caller = *caller, .received = {}, .unsent = {}};
    if (!wait_for_more(client)) clients_.erase(number);
  }
}

bool Server::receive(Client& client) {
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
    client.unsent += error_line(
        nullptr, Fault::kInvalidRequest,
        {Code::kDecode, "the request is longer than " + std::to_string(kMaxRequest) + " bytes", {}, nullptr});
    client.closing = true;
  }
  return true;
}

void Server::answer_lines(Client& client) {
  std::size_t begin = 0;
  for (auto end = client.received.find('\n'); end != std::string::npos;
       end = client.received.find('\n', begin)) {
    const std::string line = client.received.substr(begin, end - begin);
    begin = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const auto message = parse_json(line, "request");
    client.unsent +=
        message ? answer(*message, client.caller) : error_line(nullptr, Fault::kParse, message.error());
  }
  client.received.erase(0, begin);
}

std::string Server::answer(const Json& message, const Caller& caller) {
  if (message.is_array()) {  // a batch: each member for itself
    if (message.empty())
      return error_line(nullptr, Fault::kInvalidRequest, {Code::kDecode, "the batch is empty", {}, nullptr});
    Json answers = Json::array();
    for (const Json& member : message) {
      const std::string line = member.is_array()
                                   ? error_line(nullptr, Fault::kInvalidRequest,
                                                {Code::kDecode, "a request is an object", {}, nullptr})
                                   : answer(member, caller);
      if (!line.empty()) answers.push_back(Json::parse(line));
    }
    return answers.empty() ? std::string() : to_text(answers) + "\n";
  }
  const auto request = parse_request(message);
  if (!request) return error_line(nullptr, Fault::kInvalidRequest, request.error());
  const std::string line = answer_request(*request, caller);
  return request->notification ? std::string() : line;
}

std::string Server::answer_request(const Request& request, const Caller& caller) {
  const auto method = methods_.find(request.method);
  if (method == methods_.end())
    return error_line(request.id, Fault::kNoMethod,
                      {Code::kNotFound, "there is no method \"" + request.method + "\"", {}, nullptr});
  if (method->second.root_only && caller.uid != 0)
    return error_line(request.id, Fault::kServer,
                      {Code::kKernel, "only root may call \"" + request.method + "\"", {}, nullptr});
  const auto result = method->second.call(request.params, caller);
  if (result) return result_line(request.id, *result);
  const bool of_params = result.error().code == Code::kInvalidConfig;
  return error_line(request.id, of_params ? Fault::kInvalidParams : Fault::kServer, result.error());
}

bool Server::send(Client& client) {
  if (client.unsent.size() > kMaxUnsent) return false;
  while (!client.unsent.empty()) {
    const ssize_t sent = ::send(client.fd.get(), client.unsent.data(), client.unsent.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return errno == EAGAIN;
    client.unsent.erase(0, static_cast<std::size_t>(sent));
  }
  return true;
}

bool Server::notify(std::uint64_t connection, const std::string& method, const Json& params) {
  const auto found = std::ranges::find_if(
      clients_, [&](const auto& entry) { return entry.second.caller.connection == connection; });
  if (found == clients_.end()) return false;
  Client& client = found->second;
  client.unsent += notification_line(method, params);
  return client.unsent.size() <= kMaxUnsent && wait_for_more(client);
}

}  // namespace vmlane::json_rpc
