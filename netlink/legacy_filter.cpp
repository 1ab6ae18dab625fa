// SPDX-License-Identifier: Apache-2.0
#include "netlink/legacy_filter.h"

#include <linux/netfilter/xt_comment.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/files.h"
#include "core/process.h"

namespace vmlane::netlink {
namespace {

constexpr std::string_view kFilterTable = "filter";
// Somebody who changes the table between two questions makes the second fail.
constexpr int kAttempts = 20;
// Where distributions have iptables; a runtime may give a plugin any PATH, or none.
constexpr const char* kSearchPath =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin";
// How long iptables waits for the lock that its callers share.
constexpr const char* kLockSeconds = "10";

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
  return content && ("\n" + *content).find("\n" + std::string(kFilterTable) + "\n") != std::string::npos;
}

// Copies the struct at `offset`, a table's parts end in arrays of any length; false for one that does not lie
// inside.
template <class T>
bool read_at(std::span<const std::uint8_t> bytes, std::size_t offset, T& value) {
  if (offset > bytes.size() || sizeof(value) > bytes.size() - offset) return false;
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return true;
}

// Whether the entry at `offset`, a chain's policy, drops.
template <class Family>
bool drops(std::span<const std::uint8_t> entries, std::size_t offset) {
  typename Family::Entry entry{};
  xt_standard_target target{};
  return read_at(entries, offset, entry) && read_at(entries, offset + entry.target_offset, target) &&
         target.verdict == -NF_DROP - 1;
}

// Whether the entry, given from its first byte, has a match "comment" with this text.
template <class Family>
bool has_comment(std::span<const std::uint8_t> entry, std::size_t matches_end, const std::string& comment) {
  for (std::size_t at = sizeof(typename Family::Entry); at < matches_end;) {
    xt_entry_match match{};
    if (!read_at(entry, at, match) || match.u.match_size < sizeof(match)) return false;
    xt_comment_info info{};
    if (std::strncmp(match.u.user.name, "comment", sizeof(match.u.user.name)) == 0 &&
        read_at(entry, at + sizeof(match), info) &&
        comment == std::string_view(info.comment, ::strnlen(info.comment, sizeof(info.comment))))
      return true;
    at += match.u.match_size;
  }
  return false;
}

// Whether a rule from `first` up to the chain's policy at `policy` has the comment.
template <class Family>
bool any_comment(std::span<const std::uint8_t> entries, std::size_t first, std::size_t policy,
                 const std::string& comment) {
  for (std::size_t at = first; at < policy;) {
    typename Family::Entry entry{};
    if (!read_at(entries, at, entry) || entry.next_offset < sizeof(entry)) return false;
    if (has_comment<Family>(entries.subspan(at), entry.target_offset, comment)) return true;
    at += entry.next_offset;
  }
  return false;
}

template <class Family>
Result<LegacyForward> ask(const std::string& comment) {
  VMLANE_ASSIGN(const bool used, in_use(Family::kNames));
  if (!used) return LegacyForward{};
  const Fd socket(::socket(Family::kFamily, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail(kernel_error("cannot open a socket", errno));
  for (int attempt = 0; attempt < kAttempts; attempt++) {
    typename Family::Info info{};
    kFilterTable.copy(info.name, sizeof(info.name) - 1);
    socklen_t size = sizeof(info);
    if (::getsockopt(socket.get(), Family::kLevel, Family::kGetInfo, &info, &size) != 0)
      return fail(kernel_error("cannot ask iptables-legacy for its table filter", errno));
    constexpr std::size_t kHead = offsetof(typename Family::Entries, entrytable);
    std::vector<std::uint8_t> buffer(std::max(sizeof(typename Family::Entries), kHead + info.size));
    typename Family::Entries head{};
    kFilterTable.copy(head.name, sizeof(head.name) - 1);
    head.size = info.size;
    std::memcpy(buffer.data(), &head, kHead);
    size = static_cast<socklen_t>(kHead + info.size);
    if (::getsockopt(socket.get(), Family::kLevel, Family::kGetEntries, buffer.data(), &size) == 0) {
      const auto entries = std::span(buffer).subspan(kHead, info.size);
      const std::size_t policy = info.underflow[NF_INET_FORWARD];
      return LegacyForward{
          .drops = drops<Family>(entries, policy),
          .accepts = any_comment<Family>(entries, info.hook_entry[NF_INET_FORWARD], policy, comment)};
    }
    if (errno != EAGAIN) return fail(kernel_error("cannot read the table filter of iptables-legacy", errno));
  }
  return fail(Code::kTryAgain, "the table filter of iptables-legacy changed during each of " +
                                   std::to_string(kAttempts) + " readings");
}

std::optional<std::filesystem::path> find(const std::string& name) {
  for (const auto directory : std::views::split(std::string_view(kSearchPath), ':')) {
    const auto path = std::filesystem::path(std::string_view(directory)) / name;
    if (is_program(path)) return path;
  }
  return std::nullopt;
}

Command command_of(const std::filesystem::path& program, std::vector<std::string> arguments) {
  return {.noun = "program",
          .program = program,
          .arguments = std::move(arguments),
          .env = {{"PATH", kSearchPath}},
          .input = {}};
}

enum class Change { kInsert, kDelete };

Result<> change_rule(Change change, bool v6, const std::string& bridge, const std::string& comment) {
  VMLANE_ASSIGN(const auto program, legacy_program(v6));
  if (!program)
    return fail(Code::kNotAvailable,
                std::string("program ip") + (v6 ? "6" : "") + "tables-legacy is not in " + kSearchPath);
  VMLANE_TRY(run_program(
      command_of(*program, {"-w", kLockSeconds, change == Change::kInsert ? "-I" : "-D", "FORWARD", "-i",
                            bridge, "-o", bridge, "-m", "comment", "--comment", comment, "-j", "ACCEPT"})));
  return {};
}

}  // namespace

Result<LegacyForward> legacy_forward(bool v6, const std::string& comment) {
  return v6 ? ask<Ipv6>(comment) : ask<Ipv4>(comment);
}

Result<std::optional<std::filesystem::path>> legacy_program(bool v6) {
  const std::string plain = v6 ? "ip6tables" : "iptables";
  if (auto program = find(plain + "-legacy")) return program;
  auto program = find(plain);
  if (!program) return std::nullopt;
  // Of releases with two kinds, the one that works on nf_tables says so.
  VMLANE_ASSIGN(const std::string version, run_program(command_of(*program, {"--version"})));
  if (version.contains("nf_tables")) return std::nullopt;
  return program;
}

Result<> accept_in_legacy(bool v6, const std::string& bridge, const std::string& comment) {
  VMLANE_ASSIGN(const LegacyForward forward, legacy_forward(v6, comment));
  return forward.accepts ? Result<>() : change_rule(Change::kInsert, v6, bridge, comment);
}

Result<> withdraw_from_legacy(bool v6, const std::string& bridge, const std::string& comment) {
  // Whoever saved and restored the table may have it twice.
  for (int i = 0; i < kAttempts; i++) {
    VMLANE_ASSIGN(const LegacyForward forward, legacy_forward(v6, comment));
    if (!forward.accepts) return {};
    VMLANE_TRY(change_rule(Change::kDelete, v6, bridge, comment));
  }
  return fail(Code::kTryAgain,
              "the rule \"" + comment + "\" in FORWARD of iptables-legacy comes back each time");
}

}  // namespace vmlane::netlink
