// SPDX-License-Identifier: Apache-2.0
#include "netlink/socket.h"

#include <netlink/errno.h>
#include <sys/socket.h>

#include <cstdlib>
#include <utility>

namespace vmlane::netlink {
namespace {

// Each round needs a change of the table during the dump; this many in a row mean that something is wrong
// with the node.
constexpr int kDumpAttempts = 50;

std::unexpected<Error> socket_failure(const char* what, int nl_error) {
  return fail(Code::kKernel, std::string("netlink socket: cannot ") + what + ": " + nl_geterror(nl_error));
}

// An acknowledgement is an errno and the header of the request (no more than that with NETLINK_CAP_ACK), the
// end of a dump an errno alone; attributes of the extended acknowledgement follow either.
template <class Head>
void read_outcome(const nlmsghdr* header, int error, Reply& reply) {
  reply.error = -error;
  if ((header->nlmsg_flags & NLM_F_ACK_TLVS) == 0) return;
  reply.reason = ReceivedMessage(header).attributes<Head>(NLMSGERR_ATTR_MAX).string(NLMSGERR_ATTR_MSG);
}

// Whether the message ends the answer to a request.
bool read_end(const nlmsghdr* header, Reply& reply) {
  if (header->nlmsg_type == NLMSG_ERROR) {
    read_outcome<nlmsgerr>(header, ReceivedMessage(header).head<nlmsgerr>().error, reply);
    return true;
  }
  if (header->nlmsg_type == NLMSG_DONE) {
    read_outcome<int>(header, ReceivedMessage(header).head<int>(), reply);
    return true;
  }
  return false;
}

}  // namespace

Error Reply::to_error(const std::string& what) const {
  Error result = kernel_error("cannot " + what, error);
  result.details = reason;
  return result;
}

Result<Socket> Socket::open(const Namespace& network_namespace) {
  return network_namespace.run<Socket>(open_here);
}

Result<Socket> Socket::open_here() {
  std::unique_ptr<nl_sock, Free> socket(nl_socket_alloc());
  if (!socket) return socket_failure("allocate", -NLE_NOMEM);
  if (const int error = nl_connect(socket.get(), NETLINK_ROUTE); error < 0)
    return socket_failure("open", error);
  // All three are refinements that an old kernel may lack: its errors then have no text and its dumps are
  // filtered here only.
  const int on = 1;
  for (const int option : {NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK}) {
    ::setsockopt(nl_socket_get_fd(socket.get()), SOL_NETLINK, option, &on, sizeof(on));
  }
  return Socket(std::move(socket));
}

Result<Reply> Socket::request(Message& message) {
  return request_together({&message, 1});
}

Result<Reply> Socket::request_together(std::span<Message> messages) {
  std::vector<std::uint8_t> bytes;
  for (Message& message : messages) {
    if (!message.fits()) return fail(Code::kInternal, "netlink request is longer than a message may be");
    nl_complete_msg(socket_.get(), message.get());
    const nlmsghdr* header = nlmsg_hdr(message.get());
    const auto* start = reinterpret_cast<const std::uint8_t*>(header);
    bytes.insert(bytes.end(), start, start + header->nlmsg_len);
    bytes.resize(static_cast<std::size_t>(NLMSG_ALIGN(bytes.size())));
  }
  if (const int error = nl_sendto(socket_.get(), bytes.data(), bytes.size()); error < 0)
    return socket_failure("send", error);
  Reply first_refusal_or_last;
  for (Message& message : messages) {
    bool interrupted = false;
    VMLANE_ASSIGN(Reply reply, receive_reply(nlmsg_hdr(message.get())->nlmsg_seq, interrupted));
    if (first_refusal_or_last.ok()) first_refusal_or_last = std::move(reply);
  }
  return first_refusal_or_last;
}

Result<Reply> Socket::dump(Message& message) {
  if (!message.fits()) return fail(Code::kInternal, "netlink request is longer than a message may be");
  for (int attempt = 0; attempt < kDumpAttempts; attempt++) {
    nlmsg_hdr(message.get())->nlmsg_seq = NL_AUTO_SEQ;
    if (const int error = nl_send_auto(socket_.get(), message.get()); error < 0)
      return socket_failure("send", error);
    bool interrupted = false;
    VMLANE_ASSIGN(Reply reply, receive_reply(nlmsg_hdr(message.get())->nlmsg_seq, interrupted));
    if (!interrupted) return reply;
  }
  return fail(Code::kTryAgain, "the kernel's network tables changed during each of " +
                                   std::to_string(kDumpAttempts) + " readings");
}

Result<Reply> Socket::receive_reply(std::uint32_t sequence, bool& interrupted) {
  Reply reply;
  for (;;) {
    sockaddr_nl sender{};
    unsigned char* buffer = nullptr;
    const int size = nl_recv(socket_.get(), &sender, &buffer, nullptr);
    if (size < 0) return socket_failure("receive", size);
    const std::unique_ptr<unsigned char, decltype(&std::free)> owner(buffer, std::free);
    int left = size;
    for (auto* header = reinterpret_cast<nlmsghdr*>(buffer); nlmsg_ok(header, left) != 0;
         header = nlmsg_next(header, &left)) {
      if (header->nlmsg_seq != sequence) continue;
      interrupted = interrupted || (header->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
      if (read_end(header, reply)) return reply;
      reply.messages.emplace_back(header);
    }
  }
}

}  // namespace vmlane::netlink
