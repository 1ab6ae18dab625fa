// SPDX-License-Identifier: Apache-2.0
#include "netlink/message.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace vmlane::netlink {

Message::Message(std::uint16_t type, int flags) : message_(nlmsg_alloc_simple(type, flags)) {
  if (!message_) throw std::bad_alloc();
}

void Message::put_raw(int type, const void* data, std::size_t size) {
  fits_ = fits_ && nla_put(message_.get(), type, static_cast<int>(size), data) == 0;
}

Attributes::Attributes(std::span<std::uint8_t> bytes, int max_type)
    : table_(static_cast<std::size_t>(max_type) + 1) {
  // Without a policy it can only fail for want of attributes: then all are missing.
  nla_parse(table_.data(), max_type, reinterpret_cast<nlattr*>(bytes.data()), static_cast<int>(bytes.size()),
            nullptr);
}

std::span<std::uint8_t> Attributes::bytes(int type) const {
  const nlattr* attribute = table_[static_cast<std::size_t>(type)];
  if (attribute == nullptr) return {};
  return {static_cast<std::uint8_t*>(nla_data(attribute)), static_cast<std::size_t>(nla_len(attribute))};
}

std::string Attributes::string(int type) const {
  const auto content = bytes(type);
  return {content.begin(), std::ranges::find(content, std::uint8_t{0})};
}

std::optional<IpAddress> Attributes::address(int type, bool v6) const {
  IpAddress address{.v6 = v6};
  const auto content = bytes(type);
  if (content.size() != address.bits() / 8) return std::nullopt;
  std::ranges::copy(content, address.bytes.begin());
  return address;
}

template <class Number>
std::optional<Number> Attributes::number(int type) const {
  const auto content = bytes(type);
  if (content.size() < sizeof(Number)) return std::nullopt;
  Number value{};
  std::memcpy(&value, content.data(), sizeof(value));
  return value;
}
template std::optional<std::uint8_t> Attributes::number(int) const;
template std::optional<std::uint32_t> Attributes::number(int) const;
template std::optional<std::int32_t> Attributes::number(int) const;

std::optional<std::uint32_t> Attributes::be32(int type) const {
  const auto value = number<std::uint32_t>(type);
  return value ? std::optional(ntohl(*value)) : std::nullopt;
}

std::optional<std::uint64_t> Attributes::be64(int type) const {
  const auto value = number<std::uint64_t>(type);
  return value ? std::optional(static_cast<std::uint64_t>(be64toh(*value))) : std::nullopt;
}

std::vector<std::span<std::uint8_t>> list_elements(std::span<std::uint8_t> list) {
  std::vector<std::span<std::uint8_t>> elements;
  int left = static_cast<int>(list.size());
  for (auto* attribute = reinterpret_cast<nlattr*>(list.data()); nla_ok(attribute, left) != 0;
       attribute = nla_next(attribute, &left)) {
    elements.emplace_back(static_cast<std::uint8_t*>(nla_data(attribute)),
                          static_cast<std::size_t>(nla_len(attribute)));
  }
  return elements;
}

ReceivedMessage::ReceivedMessage(const nlmsghdr* header) : bytes_(new std::uint8_t[header->nlmsg_len]) {
  std::memcpy(bytes_.get(), header, header->nlmsg_len);
}

}  // namespace vmlane::netlink
