// SPDX-License-Identifier: Apache-2.0
#include "keeper/channel.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>

namespace vmlane::keeper {
namespace {

constexpr std::size_t kControlBytes = CMSG_SPACE(sizeof(int) * vhost_user::kMaxDescriptors);

std::unexpected<Error> ended() {
  return fail(Code::kNotAvailable, "the other side ended the connection");
}

// Takes over all that came, also of a message that is refused afterwards.
void take_descriptors(msghdr& packet, std::vector<SharedFd>& descriptors) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&packet); part != nullptr; part = CMSG_NXTHDR(&packet, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; i++) {
      int descriptor = -1;
      std::memcpy(&descriptor, CMSG_DATA(part) + i * sizeof descriptor, sizeof descriptor);
      descriptors.push_back(std::make_shared<const Fd>(descriptor));
    }
  }
}

}  // namespace

Result<bool> Channel::fill(std::size_t wanted) {
  while (incoming_.size() < wanted) {
    std::array<std::uint8_t, sizeof(vhost_user::Header) + Message::kMaxPayload> bytes;
    alignas(cmsghdr) std::array<char, kControlBytes> control;
    iovec part{bytes.data(), wanted - incoming_.size()};
    msghdr packet{};
    packet.msg_iov = &part;
    packet.msg_iovlen = 1;
    packet.msg_control = control.data();
    packet.msg_controllen = control.size();
    const ssize_t got = ::recvmsg(connection_.get(), &packet, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return false;
    if (got <= 0) return ended();
    take_descriptors(packet, incoming_descriptors_);
    if ((packet.msg_flags & MSG_CTRUNC) != 0 || incoming_descriptors_.size() > vhost_user::kMaxDescriptors)
      return fail(Code::kDecode,
                  "a message with more than " + std::to_string(vhost_user::kMaxDescriptors) + " descriptors");
    incoming_.insert(incoming_.end(), bytes.begin(), bytes.begin() + got);
  }
  return true;
}

Result<std::optional<Message>> Channel::receive() {
  VMLANE_ASSIGN(const bool has_header, fill(sizeof(vhost_user::Header)));
  if (!has_header) return std::nullopt;
  vhost_user::Header header;
  std::memcpy(&header, incoming_.data(), sizeof header);
  const auto request = static_cast<vhost_user::Request>(header.request);
  if (header.size > Message::kMaxPayload) {
    const std::string too_many = request == vhost_user::Request::kSetMemTable
                                     ? ": more than 8 memory regions; give the VM fewer memory devices"
                                     : "";
    return fail(Code::kDecode,
                request_name(request) + ": " + std::to_string(header.size) + " bytes" + too_many);
  }
  VMLANE_ASSIGN(const bool whole, fill(sizeof header + header.size));
  if (!whole) return std::nullopt;
  Message message{.request = request, .flags = header.flags};
  message.payload.assign(incoming_.begin() + sizeof header, incoming_.end());
  message.descriptors.swap(incoming_descriptors_);
  incoming_.clear();
  return message;
}

Result<> Channel::send(const Message& message) {
  const vhost_user::Header header{.request = static_cast<std::uint32_t>(message.request),
                                  .flags = message.flags,
                                  .size = static_cast<std::uint32_t>(message.payload.size())};
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(&header);
  outgoing_.assign(bytes, bytes + sizeof header);
  outgoing_.insert(outgoing_.end(), message.payload.begin(), message.payload.end());
  outgoing_descriptors_ = message.descriptors;
  return flush();
}

Result<> Channel::flush() {
  while (!outgoing_.empty()) {
    iovec part{outgoing_.data(), outgoing_.size()};
    msghdr packet{};
    packet.msg_iov = &part;
    packet.msg_iovlen = 1;
    alignas(cmsghdr) std::array<char, kControlBytes> control{};
    if (const std::size_t count = outgoing_descriptors_.size(); count != 0) {
      packet.msg_control = control.data();
      packet.msg_controllen = CMSG_SPACE(sizeof(int) * count);
      cmsghdr* rights = CMSG_FIRSTHDR(&packet);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(sizeof(int) * count);
      for (std::size_t i = 0; i < count; i++) {
        const int descriptor = outgoing_descriptors_[i]->get();
        std::memcpy(CMSG_DATA(rights) + i * sizeof descriptor, &descriptor, sizeof descriptor);
      }
    }
    const ssize_t sent = ::sendmsg(connection_.get(), &packet, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) return {};
    if (sent < 0) return ended();
    outgoing_descriptors_.clear();
    outgoing_.erase(outgoing_.begin(), outgoing_.begin() + sent);
  }
  return {};
}

}  // namespace vmlane::keeper
