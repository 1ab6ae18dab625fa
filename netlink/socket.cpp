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
  if (error == ENODEV) result.code = Code::kNotFound;
  result.details = reason;
  return result;
}

Result<Socket> Socket::open(const Namespace& network_namespace, int protocol) {
  return network_namespace.run<Socket>([protocol] { return open_here(protocol); });
}

Result<Socket> Socket::open_here(int protocol) {
  std::unique_ptr<nl_sock, Free> socket(nl_socket_alloc());
  if (!socket) return socket_failure("allocate", -NLE_NOMEM);
  if (const int error = nl_connect(socket.get(), protocol); error < 0) return socket_failure("open", error);
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

Result<std::vector<std::uint8_t>> Socket::serialized(std::span<Message> messages) {
  std::vector<std::uint8_t> bytes;
  for (Message& message : messages) {
    if (!message.fits()) return fail(Code::kInternal, "netlink request is longer than a message may be");
    nl_complete_msg(socket_.get(), message.get());
    const nlmsghdr* header = nlmsg_hdr(message.get());
    const auto* start = reinterpret_cast<const std::uint8_t*>(header);
    bytes.insert(bytes.end(), start, start + header->nlmsg_len);
    bytes.resize(static_cast<std::size_t>(NLMSG_ALIGN(bytes.size())));
  }
  return bytes;
}

Result<> Socket::send(std::vector<std::uint8_t>& bytes) {
  if (const int error = nl_sendto(socket_.get(), bytes.data(), bytes.size()); error < 0)
    return socket_failure("send", error);
  return {};
}

Result<Reply> Socket::request_together(std::span<Message> messages) {
  VMLANE_ASSIGN(std::vector<std::uint8_t> bytes, serialized(messages));
  VMLANE_TRY(send(bytes));
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

Result<Reply> Socket::commit(std::span<Message> batch) {
  VMLANE_ASSIGN(std::vector<std::uint8_t> bytes, serialized(batch));
  const std::uint32_t begin = nlmsg_hdr(batch.front().get())->nlmsg_seq;
  const std::uint32_t end = nlmsg_hdr(batch.back().get())->nlmsg_seq;
  const std::uint32_t last_change = end - 1;
  // Of its many messages only the last change is to be acknowledged. What begins and ends a batch cannot be,
  // before Linux 6.10.
  int left = static_cast<int>(bytes.size());
  for (auto* header = reinterpret_cast<nlmsghdr*>(bytes.data()); nlmsg_ok(header, left) != 0;
       header = nlmsg_next(header, &left)) {
    if (header->nlmsg_seq != last_change)
      header->nlmsg_flags = static_cast<std::uint16_t>(header->nlmsg_flags & ~NLM_F_ACK);
  }
  VMLANE_TRY(send(bytes));
  Reply first_refusal;
  VMLANE_TRY(receive([&](const nlmsghdr* header) {
    const std::uint32_t sequence = header->nlmsg_seq;
    Reply reply;
    if (sequence - begin > end - begin || !read_end(header, reply)) return false;
    if (first_refusal.ok()) first_refusal = std::move(reply);
    // A batch refused as a whole is answered in its first message's place.
    return sequence == last_change || sequence == begin;
  }));
  return first_refusal;
}

Result<> Socket::receive(const std::function<bool(const nlmsghdr*)>& take) {
  for (;;) {
    sockaddr_nl sender{};
    unsigned char* buffer = nullptr;
    const int size = nl_recv(socket_.get(), &sender, &buffer, nullptr);
    if (size < 0) return socket_failure("receive", size);
    const std::unique_ptr<unsigned char, decltype(&std::free)> owner(buffer, std::free);
    int left = size;
    for (auto* header = reinterpret_cast<nlmsghdr*>(buffer); nlmsg_ok(header, left) != 0;
         header = nlmsg_next(header, &left)) {
      if (take(header)) return {};
    }
  }
}

Result<Reply> Socket::receive_reply(std::uint32_t sequence, bool& interrupted) {
  Reply reply;
  VMLANE_TRY(receive([&](const nlmsghdr* header) {
    if (header->nlmsg_seq != sequence) return false;
    interrupted = interrupted || (header->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
    if (read_end(header, reply)) return true;
    reply.messages.emplace_back(header);
    return false;
  }));
  return reply;
}

}  // namespace vmlane::netlink
