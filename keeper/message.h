// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/files.h"
#include "core/vhost_user.h"

namespace vmlane::keeper {

// Held by a message on its way and by the session that remembers it.
using SharedFd = std::shared_ptr<const Fd>;

// One message of the vhost-user protocol.
struct Message {
  static constexpr std::size_t kMaxPayload = sizeof(vhost_user::MemoryTable);

  vhost_user::Request request{};
  std::uint32_t flags = vhost_user::Header::kVersion;
  std::vector<std::uint8_t> payload;
  std::vector<SharedFd> descriptors;

  bool is_reply() const { return (flags & vhost_user::Header::kReply) != 0; }
  bool needs_reply() const { return (flags & vhost_user::Header::kNeedReply) != 0; }
  // What the payload begins with; zeros where it is too short.
  template <class T>
  T as() const {
    T value{};
    if (!payload.empty()) std::memcpy(&value, payload.data(), std::min(sizeof value, payload.size()));
    return value;
  }
};

template <class T>
Message make_message(vhost_user::Request request, const T& payload, std::vector<SharedFd> descriptors = {}) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(&payload);
  return {.request = request,
          .payload = std::vector<std::uint8_t>(bytes, bytes + sizeof payload),
          .descriptors = std::move(descriptors)};
}

// "SET_VRING_KICK", for people; "message 44" for one that has no place here.
std::string request_name(vhost_user::Request request);

}  // namespace vmlane::keeper
