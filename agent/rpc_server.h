// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <poll.h>
#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <list>
#include <map>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/json_rpc.h"

namespace vmlane::agent {

// Who asks, as the kernel says.
struct Caller {
  uid_t uid = 0;
  pid_t pid = 0;
  std::uint64_t connection = 0;  // for notify(), never given twice
};

// Answers JSON-RPC 2.0 (core/json_rpc.h) on a Unix socket, from the loop that polls: nothing here waits. A
// client that sends more than a request may have, or does not take its answers, is cut off; so is who comes
// when all places are taken.
class RpcServer {
 public:
  static constexpr std::size_t kMaxClients = 64;
  static constexpr std::size_t kMaxRequest = std::size_t{4} << 20;
  static constexpr std::size_t kMaxUnsent = std::size_t{64} << 20;

  using Method = std::function<Result<Json>(const Json& params, const Caller& caller)>;
  struct MethodEntry {
    Method call;
    bool root_only = false;
  };

  // The socket appears listening, mode 0660 with `group`; one that a dead server left is replaced. The caller
  // holds the lock that makes it the only server of that name.
  static Result<RpcServer> listen(const std::filesystem::path& socket, gid_t group,
                                  std::map<std::string, MethodEntry> methods);
  RpcServer(RpcServer&&) = default;
  RpcServer& operator=(RpcServer&&) = delete;
  // Takes the socket away.
  ~RpcServer();

  void add_to(std::vector<pollfd>& fds) const;
  // Serves what `fds`, filled by add_to(), says is ready.
  void serve(const std::vector<pollfd>& fds);
  // Sends a notification; false when the connection is gone.
  bool notify(std::uint64_t connection, const std::string& method, const Json& params);

 private:
  struct Client {
    Fd fd;
    Caller caller;
    std::string received;
    std::string unsent;
    bool closing = false;  // nothing more is read
  };

  RpcServer(Fd listener, std::filesystem::path socket, std::map<std::string, MethodEntry> methods)
      : listener_(std::move(listener)), socket_(std::move(socket)), methods_(std::move(methods)) {}
  void accept_clients();
  // Both give false when the client is to go.
  bool receive(Client& client);
  static bool send(Client& client);
  void answer_lines(Client& client);
  std::string answer(const Json& message, const Caller& caller);
  std::string answer_request(const json_rpc::Request& request, const Caller& caller);

  Fd listener_;
  std::filesystem::path socket_;
  std::map<std::string, MethodEntry> methods_;
  std::list<Client> clients_;
  std::uint64_t connections_ = 0;
};

}  // namespace vmlane::agent
