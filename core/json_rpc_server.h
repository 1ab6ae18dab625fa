// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/json_rpc.h"

namespace vmlane::json_rpc {

// Who asks, as the kernel says.
struct Caller {
  uid_t uid = 0;
  pid_t pid = 0;
  std::uint64_t connection = 0;  // for notify(), never given twice
};

// Answers JSON-RPC 2.0 (core/json_rpc.h) on a Unix socket, from the loop of the daemon: nothing here waits.
// Who may connect is the socket's mode: its owner and one group. A client that sends more than a request may
// have, or does not take its answers, is cut off; so is who comes when all places are taken.
class Server {
 public:
  static constexpr std::size_t kMaxClients = 64;
  static constexpr std::size_t kMaxRequest = std::size_t{4} << 20;
  static constexpr std::size_t kMaxUnsent = std::size_t{64} << 20;

  using Method = std::function<Result<Json>(const Json& params, const Caller& caller)>;
  struct MethodEntry {
    Method call;
    bool root_only = false;
  };
  using Methods = std::map<std::string, MethodEntry>;

  // The socket appears listening, mode 0660 with `group` (where the process may give it that); one that a
  // dead server left is replaced, one that somebody serves is Code::kConflict. Two that start at once are not
  // told apart: a lock of the caller's does that.
  static Result<Server> listen(const std::filesystem::path& socket, gid_t group, Methods methods);
  Server(Server&&) = default;
  Server& operator=(Server&&) = delete;
  // Takes the socket away.
  ~Server();

  // Readable when serve() has something to do.
  int fd() const { return epoll_.get(); }
  void serve();
  // Sends a notification; false when the connection is gone.
  bool notify(std::uint64_t connection, const std::string& method, const Json& params);

 private:
  struct Client {
    Fd fd;
    Caller caller;
    std::string received;
    std::string unsent;
    bool closing = false;      // nothing more is read
    std::uint32_t events = 0;  // that are waited for
  };

  Server(Fd listener, Fd epoll, std::filesystem::path socket, Methods methods)
      : listener_(std::move(listener)),
        epoll_(std::move(epoll)),
        socket_(std::move(socket)),
        methods_(std::move(methods)) {}
  void accept_clients();
  // False when the client is to go.
  bool serve(Client& client, std::uint32_t events);
  bool wait_for_more(Client& client) const;
  // Both give false when the client is to go.
  bool receive(Client& client);
  static bool send(Client& client);
  void answer_lines(Client& client);
  std::string answer(const Json& message, const Caller& caller);
  std::string answer_request(const Request& request, const Caller& caller);

  Fd listener_;
  Fd epoll_;
  std::filesystem::path socket_;
  Methods methods_;
  std::map<int, Client> clients_;  // by descriptor
  std::uint64_t connections_ = 0;
};

}  // namespace vmlane::json_rpc
