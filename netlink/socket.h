// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <netlink/netlink.h>
#include <netlink/socket.h>

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
  // "cannot <what>: <errno>" with the kernel's reason as details.
  Error to_error(const std::string& what) const;
};

// An rtnetlink socket of one namespace. Requests are synchronous: each is sent with NLM_F_ACK and answered
// before the call returns. Errors are those of the socket itself; a refusal is in the Reply.
class Socket {
 public:
  static Result<Socket> open(const Namespace& network_namespace);

  // A request with one answer.
  Result<Reply> request(Message& message);
  // Several changes in one send, which the kernel carries out in one system call: a kill cannot come between
  // them. The reply is the first refusal, if there is one; later messages are carried out all the same.
  Result<Reply> request_together(std::span<Message> messages);
  // A dump (NLM_F_DUMP), taken again when the kernel reports that the table changed under it.
  Result<Reply> dump(Message& message);

 private:
  struct Free {
    void operator()(nl_sock* socket) const { nl_socket_free(socket); }
  };
  explicit Socket(std::unique_ptr<nl_sock, Free> socket) : socket_(std::move(socket)) {}
  static Result<Socket> open_here();
  Result<Reply> receive_reply(std::uint32_t sequence, bool& interrupted);

  std::unique_ptr<nl_sock, Free> socket_;
};

}  // namespace vmlane::netlink
