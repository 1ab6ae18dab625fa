// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <arpa/inet.h>
#include <endian.h>
#include <linux/netlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/address.h"

// Netlink messages, built and read with libnl's message and attribute functions. Its typed route objects are
// not used: they have no form for half of what this room sets (peer namespaces, port isolation, address
// generation), and one style for all requests is easier to follow.
namespace vmlane::netlink {

// A request under construction. What does not fit is remembered; Socket then refuses to send it.
class Message {
 public:
  // `type` is RTM_*, `flags` NLM_F_* besides REQUEST and ACK, `header` the family header (ifinfomsg,
  // ifaddrmsg, rtmsg).
  template <class Header>
  Message(std::uint16_t type, int flags, const Header& header) : Message(type, flags) {
    append(header);
  }

  void put(int type, std::span<const std::uint8_t> bytes) { put_raw(type, bytes.data(), bytes.size()); }
  void put_u8(int type, std::uint8_t value) { put_raw(type, &value, sizeof(value)); }
  void put_u32(int type, std::uint32_t value) { put_raw(type, &value, sizeof(value)); }
  // In network byte order, as netfilter has its numbers.
  void put_be32(int type, std::uint32_t value) { put_u32(type, htonl(value)); }
  void put_be64(int type, std::uint64_t value) {
    value = htobe64(value);
    put_raw(type, &value, sizeof(value));
  }
  // With the closing NUL, as names are sent.
  void put_string(int type, const std::string& text) { put_raw(type, text.c_str(), text.size() + 1); }
  // Without it, as an alias is sent; an empty one clears.
  void put_text(int type, std::string_view text) { put_raw(type, text.data(), text.size()); }
  void put(int type, const MacAddress& mac) { put(type, mac.bytes); }
  void put(int type, const IpAddress& address) {
    put(type, std::span(address.bytes).first(address.bits() / 8));
  }
  // A family header inside an attribute, as in VETH_INFO_PEER.
  template <class Header>
  void append(const Header& header) {
    fits_ = fits_ &&
            nlmsg_append(message_.get(), const_cast<Header*>(&header), sizeof(header), NLMSG_ALIGNTO) == 0;
  }
  // An attribute made of those that `fill` puts.
  template <class Fill>
  void nest(int type, const Fill& fill) {
    nlattr* start = nla_nest_start(message_.get(), NLA_F_NESTED | type);
    fits_ = fits_ && start != nullptr;
    if (!fits_) return;
    fill();
    nla_nest_end(message_.get(), start);
  }

  bool fits() const { return fits_; }
  nl_msg* get() const { return message_.get(); }

 private:
  struct Free {
    void operator()(nl_msg* message) const { nlmsg_free(message); }
  };
  Message(std::uint16_t type, int flags);
  void put_raw(int type, const void* data, std::size_t size);

  std::unique_ptr<nl_msg, Free> message_;
  bool fits_ = true;
};

// The attributes of a received message, or of one attribute of it. Missing ones, and ones shorter than what
// is asked for, have no value. Points into the message.
class Attributes {
 public:
  Attributes(std::span<std::uint8_t> bytes, int max_type);
  Attributes nested(int type, int max_type) const { return {bytes(type), max_type}; }

  bool has(int type) const { return table_[static_cast<std::size_t>(type)] != nullptr; }
  std::span<std::uint8_t> bytes(int type) const;
  std::optional<std::uint8_t> u8(int type) const { return number<std::uint8_t>(type); }
  std::optional<std::uint32_t> u32(int type) const { return number<std::uint32_t>(type); }
  std::optional<std::int32_t> s32(int type) const { return number<std::int32_t>(type); }
  std::optional<std::uint32_t> be32(int type) const;
  std::optional<std::uint64_t> be64(int type) const;
  std::string string(int type) const;
  std::optional<IpAddress> address(int type, bool v6) const;

 private:
  template <class Number>
  std::optional<Number> number(int type) const;

  std::vector<nlattr*> table_;
};

// The contents of the attributes in `list`, which are all of one type, in their order.
std::vector<std::span<std::uint8_t>> list_elements(std::span<std::uint8_t> list);

// A message of the kernel.
class ReceivedMessage {
 public:
  explicit ReceivedMessage(const nlmsghdr* header);

  std::uint16_t type() const { return header()->nlmsg_type; }
  // The family header that the message begins with; all zeros when it is cut short.
  template <class Header>
  Header head() const {
    Header head{};
    if (nlmsg_datalen(header()) >= static_cast<int>(sizeof(head)))
      head = *static_cast<const Header*>(nlmsg_data(header()));
    return head;
  }
  // The attributes behind a family header of that type.
  template <class Header>
  Attributes attributes(int max_type) const {
    const int size = nlmsg_attrlen(header(), sizeof(Header));
    if (size <= 0) return {{}, max_type};
    auto* first = reinterpret_cast<std::uint8_t*>(nlmsg_attrdata(header(), sizeof(Header)));
    return {{first, static_cast<std::size_t>(size)}, max_type};
  }

 private:
  nlmsghdr* header() const { return reinterpret_cast<nlmsghdr*>(bytes_.get()); }

  std::unique_ptr<std::uint8_t[]> bytes_;
};

}  // namespace vmlane::netlink
