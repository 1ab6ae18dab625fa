// SPDX-License-Identifier: Apache-2.0
#include "netlink/legacy_filter.h"

#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "core/files.h"

namespace vmlane::netlink {
namespace {

constexpr const char* kFilterTable = "filter";
// Somebody who changes the table between two questions makes the second fail.
constexpr int kAttempts = 20;

struct Ipv4 {
  using Info = ipt_getinfo;
  using Entries = ipt_get_entries;
  using Entry = ipt_entry;
  static constexpr int kFamily = AF_INET;
  static constexpr int kLevel = IPPROTO_IP;
  static constexpr int kGetInfo = IPT_SO_GET_INFO;
  static constexpr int kGetEntries = IPT_SO_GET_ENTRIES;
  static constexpr const char* kNames = "/proc/thread-self/net/ip_tables_names";
};

struct Ipv6 {
  using Info = ip6t_getinfo;
  using Entries = ip6t_get_entries;
  using Entry = ip6t_entry;
  static constexpr int kFamily = AF_INET6;
  static constexpr int kLevel = IPPROTO_IPV6;
  static constexpr int kGetInfo = IP6T_SO_GET_INFO;
  static constexpr int kGetEntries = IP6T_SO_GET_ENTRIES;
  static constexpr const char* kNames = "/proc/thread-self/net/ip6_tables_names";
};

Result<bool> in_use(const char* names) {
  VMLANE_ASSIGN(const auto content, read_file(names));
  return content && ("\n" + *content).find(std::string("\n") + kFilterTable + "\n") != std::string::npos;
}

// Whether the entry at `offset`, a chain's policy, drops; false for what lies outside of the table.
template <class Family>
bool drops(std::span<const std::uint8_t> entries, std::size_t offset) {
  typename Family::Entry entry{};
  if (offset + sizeof(entry) > entries.size()) return false;
  std::memcpy(&entry, entries.data() + offset, sizeof(entry));
  xt_standard_target target{};
  const std::size_t start = offset + entry.target_offset;
  if (start + sizeof(target) > entries.size()) return false;
  std::memcpy(&target, entries.data() + start, sizeof(target));
  return target.verdict == -NF_DROP - 1;
}

template <class Family>
Result<bool> ask() {
  VMLANE_ASSIGN(const bool used, in_use(Family::kNames));
  if (!used) return false;
  const Fd socket(::socket(Family::kFamily, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail(kernel_error("cannot open a socket", errno));
  for (int attempt = 0; attempt < kAttempts; attempt++) {
    typename Family::Info info{};
    std::strcpy(info.name, kFilterTable);
    socklen_t size = sizeof(info);
    if (::getsockopt(socket.get(), Family::kLevel, Family::kGetInfo, &info, &size) != 0)
      return fail(kernel_error("cannot ask iptables-legacy for its table filter", errno));
    constexpr std::size_t kHead = offsetof(typename Family::Entries, entrytable);
    std::vector<std::uint8_t> buffer(std::max(sizeof(typename Family::Entries), kHead + info.size));
    typename Family::Entries head{};
    std::strcpy(head.name, kFilterTable);
    head.size = info.size;
    std::memcpy(buffer.data(), &head, kHead);
    size = static_cast<socklen_t>(kHead + info.size);
    if (::getsockopt(socket.get(), Family::kLevel, Family::kGetEntries, buffer.data(), &size) == 0)
      return drops<Family>(std::span(buffer).subspan(kHead, info.size), info.underflow[NF_INET_FORWARD]);
    if (errno != EAGAIN) return fail(kernel_error("cannot read the table filter of iptables-legacy", errno));
  }
  return fail(Code::kTryAgain, "the table filter of iptables-legacy changed during each of " +
                                   std::to_string(kAttempts) + " readings");
}

}  // namespace

Result<bool> legacy_forward_drops(bool v6) {
  return v6 ? ask<Ipv6>() : ask<Ipv4>();
}

}  // namespace vmlane::netlink
