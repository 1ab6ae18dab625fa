// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"

namespace vmlane::dataplane {

// Serves JSON-RPC 2.0, one message a line, on a Unix socket (core/json_rpc.h), for the control thread's
// epoll: nothing here waits. Who may connect is the socket's mode: its owner and one group.
class RpcServer {
 public:
  using Handler = std::function<Result<Json>(const Json& params)>;
  static constexpr std::size_t kMaxClients = 64;
  static constexpr std::size_t kMaxRequest = 64 << 10;

  // Listens on `path`, in the place of a socket that nobody listens on any more; one that somebody does is
  // Code::kConflict. Its descriptor, and those of clients, are added to `epoll`.
  static Result<std::unique_ptr<RpcServer>> listen(const std::filesystem::path& path, gid_t group, int epoll);
  ~RpcServer();
  RpcServer(const RpcServer&) = delete;
  RpcServer& operator=(const RpcServer&) = delete;

  void serve(std::string method, Handler handler) { handlers_[std::move(method)] = std::move(handler); }
  // For a descriptor that epoll names; false when it is none of the server's.
  bool ready(int descriptor);

 private:
  struct Client {
    Fd socket;
    std::string in;
    std::string out;
    bool ended = false;  // sends nothing more, and may wait for answers
  };

  RpcServer(std::filesystem::path path, Fd socket, int epoll);
  void accept();
  // False when the connection is over.
  bool read(Client& client);
  bool write(Client& client);
  std::string answer(std::string_view line) const;

  const std::filesystem::path path_;
  const Fd socket_;
  const int epoll_;
  std::map<std::string, Handler, std::less<>> handlers_;
  std::map<int, Client> clients_;
};

}  // namespace vmlane::dataplane
