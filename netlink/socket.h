// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <netlink/netlink.h>
#include <netlink/socket.h>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "netlink/message.h"
#include "netlink/namespace.h"

namespace vmlane::netlink {

// What the kernel said to one request.
struct Reply {
  int error = 0;       // errno of its acknowledgement, 0 for success
  std::string reason;  // its extended acknowledgement, where it gave one
  std::vector<ReceivedMessage> messages;

  bool ok() const { return error == 0; }
  // "cannot <what>: <errno>" with the kernel's reason as details; Code::kNotFound when the link is gone, else
  // Code::kKernel.
  Error to_error(const std::string& what) const;
};

// A netlink socket of one namespace, of rtnetlink unless said otherwise. Requests are synchronous: each is
// sent with NLM_F_ACK and answered before the call returns. Errors are those of the socket itself; a refusal
// is in the Reply.
class Socket {
 public:
  static Result<Socket> open(const Namespace& network_namespace, int protocol = NETLINK_ROUTE);

  // A request with one answer.
  Result<Reply> request(Message& message);
  // Several changes in one send, which the kernel carries out in one system call: a kill cannot come between
  // them. The reply is the first refusal, if there is one; later messages are carried out all the same.
  Result<Reply> request_together(std::span<Message> messages);
  // A dump (NLM_F_DUMP), taken again when the kernel reports that the table changed under it.
  Result<Reply> dump(Message& message);
  // An nfnetlink batch, its begin and end messages first and last: all changes or none. The reply is the
  // first refusal, if there is one.
  Result<Reply> commit(std::span<Message> batch);

 private:
  struct Free {
    void operator()(nl_sock* socket) const { nl_socket_free(socket); }
  };
  explicit Socket(std::unique_ptr<nl_sock, Free> socket) : socket_(std::move(socket)) {}
  static Result<Socket> open_here(int protocol);
  // The messages, completed, one behind the other.
  Result<std::vector<std::uint8_t>> serialized(std::span<Message> messages);
  Result<> send(std::vector<std::uint8_t>& bytes);
  // Hands received messages to `take` until it says that this was the last one.
  Result<> receive(const std::function<bool(const nlmsghdr*)>& take);
  Result<Reply> receive_reply(std::uint32_t sequence, bool& interrupted);

  std::unique_ptr<nl_sock, Free> socket_;
};

}  // namespace vmlane::netlink
