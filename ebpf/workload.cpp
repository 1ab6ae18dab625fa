// SPDX-License-Identifier: Apache-2.0
#include "ebpf/workload.h"

#include <bpf/bpf.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>

#include "core/hash.h"
#include "core/hex.h"
#include "ebpf/learned_addresses.h"
#include "ebpf/libbpf_error.h"
#include "ebpf/program.h"
#include "ebpf/source_guard_layout.bpf.h"
#include "ebpf/workload_layout.bpf.h"
#include "ebpf/workload_programs.h"

namespace vmlane::ebpf {
namespace {

using netlink::Direction;

// In the order of vmlane_guard_reason.
constexpr std::array<std::string_view, VMLANE_GUARD_REASONS> kGuardReasons = {
    "",     "mac",       "arp",         "ipv4",
    "ipv6", "neighbour", "dhcp-server", "router",
    "vlan", "control",   "malformed",   "foreign-destination"};

// In the order of vmlane_answer_count.
constexpr std::array<std::string_view, VMLANE_COUNTS> kAnswers = {"dhcp-offer",
                                                                  "dhcp-ack",
                                                                  "dhcp-nak",
                                                                  "dhcp-inform",
                                                                  "dhcpv6-advertise",
                                                                  "dhcpv6-reply",
                                                                  "dhcpv6-information",
                                                                  "dhcpv6-status",
                                                                  "ra",
                                                                  "ra-refresh",
                                                                  "arp",
                                                                  "nd",
                                                                  "silent",
                                                                  "malformed",
                                                                  "failed"};

constexpr std::size_t kIdBytes = 16;
constexpr std::size_t kLinkLocalPrefix = 8;

void write_id(std::string_view attachment_id, std::uint8_t* bytes) {
  constexpr int kHex = 16;
  for (std::size_t i = 0; i < kIdBytes && 2 * i + 1 < attachment_id.size(); i++) {
    const std::string_view digits = attachment_id.substr(2 * i, 2);
    std::from_chars(digits.data(), digits.data() + digits.size(), bytes[i], kHex);
  }
}

std::string id_of(const vmlane_guard& guard) {
  return to_hex(guard.owner);
}

bool is_of(const vmlane_guard& guard, std::string_view attachment_id) {
  std::array<std::uint8_t, kIdBytes> id{};
  write_id(attachment_id, id.data());
  return std::ranges::equal(id, guard.owner);
}

IpAddress link_local_of(std::uint64_t id) {
  constexpr int kWordBits = 32;
  const std::array<std::uint32_t, 2> words{static_cast<std::uint32_t>(id >> kWordBits),
                                           static_cast<std::uint32_t>(id)};
  IpAddress address{.v6 = true, .bytes = {0xfe, 0x80}};
  std::memcpy(&address.bytes[kLinkLocalPrefix], words.data(), sizeof(words));
  return address;
}

vmlane_guard entry_for(const WorkloadLink& link, std::string_view attachment_id,
                       const std::optional<SourceGuard>& guard, bool has_answers) {
  vmlane_guard entry{};
  write_id(attachment_id, entry.owner);
  if (guard) write_source_guard(*guard, entry);
  if (has_answers) entry.flags |= VMLANE_GUARD_ANSWERS;
  if (link.from_workload == Direction::kEgress) entry.flags |= VMLANE_GUARD_ON_EGRESS;
  return entry;
}

Result<> refuse_too_many(const SourceGuard& guard) {
  const auto addresses = guard.addresses.value_or(std::vector<IpPrefix>());
  const auto v6 = std::ranges::count_if(addresses, [](const IpPrefix& prefix) { return prefix.address.v6; });
  const auto most = static_cast<std::ptrdiff_t>(SourceGuard::kMaxAddresses);
  if (guard.macs.empty() || guard.macs.size() > SourceGuard::kMaxMacs) {
    return fail(Code::kInvalidConfig, "a NIC with " + std::to_string(guard.macs.size()) +
                                          " MAC addresses, the source guard takes 1 to " +
                                          std::to_string(SourceGuard::kMaxMacs));
  }
  if (v6 > most || std::ssize(addresses) - v6 > most) {
    return fail(Code::kInvalidConfig,
                "a NIC with more than " + std::to_string(most) + " addresses of one family",
                "allow a prefix instead of its addresses, or switch off \"spoofCheck\"");
  }
  return {};
}

// Where the search for a free key begins: spread, so that two ADDs seldom meet.
std::uint32_t first_key(std::string_view attachment_id) {
  std::array<std::uint8_t, kIdBytes> id{};
  write_id(attachment_id, id.data());
  std::uint32_t number = 0;
  std::memcpy(&number, id.data(), sizeof(number));
  return number % VMLANE_MAX_WORKLOADS;
}

Result<std::uint16_t> insert(const Fd& map, std::string_view attachment_id, const vmlane_guard& guard) {
  const std::uint32_t first = first_key(attachment_id);
  for (std::uint32_t i = 0; i < VMLANE_MAX_WORKLOADS; i++) {
    const std::uint32_t key = (first + i) % VMLANE_MAX_WORKLOADS + 1;
    if (bpf_map_update_elem(map.get(), &key, &guard, BPF_NOEXIST) == 0)
      return static_cast<std::uint16_t>(key);
    if (errno != EEXIST && errno != E2BIG)
      return fail(libbpf_error("cannot write the source guard's entry", errno));
  }
  return fail(Code::kConflict,
              "the node has no room for a workload more, the limit is " +
                  std::to_string(VMLANE_MAX_WORKLOADS) + " guarded links",
              "a GC removes what is left of workloads that are gone");
}

std::optional<vmlane_guard> entry_of(std::uint32_t map_id, std::uint32_t key) {
  const Fd map(bpf_map_get_fd_by_id(map_id));
  vmlane_guard guard{};
  if (!map || bpf_map_lookup_elem(map.get(), &key, &guard) != 0) return std::nullopt;
  return guard;
}

std::optional<vmlane_answers> answers_of(std::uint32_t map_id, std::uint32_t key) {
  const Fd map(bpf_map_get_fd_by_id(map_id));
  vmlane_answers answers{};
  if (!map || bpf_map_lookup_elem(map.get(), &key, &answers) != 0) return std::nullopt;
  return answers;
}

Result<> put_answers(const Fd& map, std::uint32_t key, const vmlane_answers* answers) {
  if (answers == nullptr || bpf_map_update_elem(map.get(), &key, answers, BPF_ANY) == 0) return {};
  return fail(libbpf_error("cannot write a guest's answers", errno));
}

Result<> remove_key(std::uint32_t map_id, std::uint32_t key) {
  const Fd map(bpf_map_get_fd_by_id(map_id));
  if (!map || bpf_map_delete_elem(map.get(), &key) == 0 || errno == ENOENT) return {};
  return fail(libbpf_error("cannot remove a workload's entry", errno));
}

// What the shortest way through the programs goes by: the NIC's own MAC and addresses, as far as all of the
// guard's questions are answered by them.
vmlane_plain plain_for(const vmlane_guard& guard, bool advertises) {
  constexpr std::uint32_t kAll = 0xffffffff;
  vmlane_plain plain{};
  plain.look_at = advertises ? 0 : VMLANE_LOOK_NEVER;
  if ((guard.flags & VMLANE_GUARD_FULL) == 0) return plain;
  std::memcpy(plain.mac, guard.macs[0], sizeof(plain.mac));
  if (guard.ipv4[0].mask == kAll) plain.ipv4 = guard.ipv4[0].address;
  if (std::ranges::all_of(guard.ipv6[0].mask, [](std::uint32_t word) { return word == kAll; }))
    std::memcpy(plain.ipv6, guard.ipv6[0].address, sizeof(plain.ipv6));
  if ((guard.flags & VMLANE_GUARD_LEARNS) != 0) plain.flags |= VMLANE_PLAIN_LEARNS;
  return plain;
}

Result<> put_plain(const Fd& map, std::uint32_t key, const vmlane_plain& plain) {
  if (bpf_map_update_elem(map.get(), &key, &plain, BPF_ANY) == 0) return {};
  return fail(libbpf_error("cannot write what a workload's plain traffic is told by", errno));
}

// Without what the program itself writes.
bool has_plain(const WorkloadHandle& handle, vmlane_plain wanted) {
  const Fd map(bpf_map_get_fd_by_id(handle.plains_map));
  const std::uint32_t key = handle.key;
  vmlane_plain plain{};
  if (!map || bpf_map_lookup_elem(map.get(), &key, &plain) != 0) return false;
  wanted.look_at = plain.look_at;
  if ((wanted.flags & VMLANE_PLAIN_LEARNS) != 0) {
    wanted.ipv4 = plain.ipv4;
    std::memcpy(wanted.ipv6, plain.ipv6, sizeof(wanted.ipv6));
  }
  return std::memcmp(&plain, &wanted, sizeof(plain)) == 0;
}

bool advertises(const WorkloadSpec& spec) {
  return spec.answers != nullptr && (spec.answers->flags & VMLANE_ANSWER_RA) != 0 &&
         spec.answers->ra_interval != 0;
}

// The guard's entry, which tells whose the key is, last: until then nobody else takes the key.
Result<> remove_entry(const WorkloadHandle& handle, std::string_view attachment_id) {
  const auto entry = entry_of(handle.guards_map, handle.key);
  if (!entry || !is_of(*entry, attachment_id)) return {};
  VMLANE_TRY(release_addresses(handle.claims_map, handle.key, *entry));
  const Fd plains(bpf_map_get_fd_by_id(handle.plains_map));
  if (plains) VMLANE_TRY(put_plain(plains, handle.key, vmlane_plain{}));
  VMLANE_TRY(remove_key(handle.answers_map, handle.key));
  return remove_key(handle.guards_map, handle.key);
}

std::vector<std::uint32_t> keys_of(const Fd& map) {
  std::vector<std::uint32_t> keys;
  std::uint32_t key = 0;
  // A deletion under way makes the walk start anew: it ends all the same, at what the map can hold.
  while (keys.size() <= VMLANE_MAX_WORKLOADS &&
         bpf_map_get_next_key(map.get(), keys.empty() ? nullptr : &keys.back(), &key) == 0)
    keys.push_back(key);
  return keys;
}

WorkloadHandle handle_of(const WorkloadPrograms& programs, std::uint32_t key) {
  return {static_cast<std::uint16_t>(key),
          programs.map_id(WorkloadMap::kGuards),
          programs.map_id(WorkloadMap::kAnswers),
          programs.map_id(WorkloadMap::kPlains),
          programs.map_id(WorkloadMap::kClaims),
          programs.from_id,
          programs.to_id};
}

Result<> remove_entries(const WorkloadPrograms& programs, std::string_view attachment_id) {
  for (const std::uint32_t key : keys_of(programs.map(WorkloadMap::kGuards)))
    VMLANE_TRY(remove_entry(handle_of(programs, key), attachment_id));
  return {};
}

Result<> attach(const WorkloadLink& link, const WorkloadPrograms& programs, std::uint16_t key) {
  VMLANE_TRY(netlink::set_bpf_filter(
      link.where, link.index, link.from_workload,
      {.program = programs.from.get(), .name = "vmlane_from_workload", .class_id = key}));
  return netlink::set_bpf_filter(
      link.where, link.index, opposite(link.from_workload),
      {.program = programs.to.get(), .name = "vmlane_to_workload", .class_id = key});
}

Result<> check_filter(const WorkloadLink& link, Direction direction, std::uint32_t program,
                      const WorkloadHandle& handle) {
  const auto filter = netlink::bpf_filter(link.where, link.index, direction);
  if (!filter && filter.error().code == Code::kNotFound) return fail(Code::kChanged, filter.error().message);
  if (!filter) return fail(filter.error());
  if (*filter && (*filter)->program_id == program && (*filter)->class_id == handle.key) return {};
  VMLANE_ASSIGN(const std::string name, link_name(link));
  return fail(Code::kChanged,
              name + " has no guard " + (direction == link.from_workload ? "from" : "to") + " the workload");
}

// Without what the program itself writes.
bool tells_the_same(vmlane_guard a, const vmlane_guard& b) {
  std::memcpy(a.learned_link_locals, b.learned_link_locals, sizeof(a.learned_link_locals));
  std::memcpy(a.learned, b.learned, sizeof(a.learned));
  a.bound = b.bound;
  std::memcpy(a.dropped, b.dropped, sizeof(a.dropped));
  return std::memcmp(&a, &b, sizeof(a)) == 0;
}

}  // namespace

Result<std::string> link_name(const WorkloadLink& link) {
  return link.where.run<std::string>([&]() -> Result<std::string> { return link_text(link.index); });
}

Json WorkloadHandle::to_json() const {
  return {{"key", key},
          {"guards_map", guards_map},
          {"answers_map", answers_map},
          {"plains_map", plains_map},
          {"claims_map", claims_map},
          {"from_program", from_program},
          {"to_program", to_program}};
}

std::optional<WorkloadHandle> WorkloadHandle::from_json(const Json& json) {
  if (!json.is_object()) return std::nullopt;
  const auto number = [&](const char* name) {
    const auto found = json.find(name);
    return found != json.end() && found->is_number_unsigned() ? found->get<std::uint32_t>() : 0;
  };
  const WorkloadHandle handle{static_cast<std::uint16_t>(number("key")),
                              number("guards_map"),
                              number("answers_map"),
                              number("plains_map"),
                              number("claims_map"),
                              number("from_program"),
                              number("to_program")};
  if (handle.key == 0 || handle.guards_map == 0) return std::nullopt;
  return handle;
}

Result<WorkloadHandle> attach_workload(const NodeConfig& node, const WorkloadLink& link,
                                       const WorkloadSpec& spec) {
  silence_libbpf();
  if (spec.guard) VMLANE_TRY(refuse_too_many(*spec.guard));
  VMLANE_ASSIGN(const WorkloadPrograms programs, workload_programs(node));
  const vmlane_guard entry = entry_for(link, spec.attachment_id, spec.guard, spec.answers != nullptr);
  VMLANE_ASSIGN(const std::uint16_t key,
                insert(programs.map(WorkloadMap::kGuards), spec.attachment_id, entry));
  const WorkloadHandle handle = handle_of(programs, key);
  auto attached = put_answers(programs.map(WorkloadMap::kAnswers), key, spec.answers);
  if (attached)
    attached = put_plain(programs.map(WorkloadMap::kPlains), key, plain_for(entry, advertises(spec)));
  if (attached && spec.guard) attached = claim_addresses(programs, key, *spec.guard);
  if (attached) attached = attach(link, programs, key);
  if (attached) return handle;
  // The error that matters is the one at hand; an entry without a link does nothing.
  (void)remove_entry(handle, spec.attachment_id);
  return fail(std::move(attached.error()));
}

Result<> check_workload(const WorkloadLink& link, const WorkloadHandle& handle,
                        const std::string& attachment_id, const std::optional<SourceGuard>& guard,
                        const std::string& answers_digest) {
  silence_libbpf();
  VMLANE_TRY(check_filter(link, link.from_workload, handle.from_program, handle));
  VMLANE_TRY(check_filter(link, opposite(link.from_workload), handle.to_program, handle));
  const auto entry = entry_of(handle.guards_map, handle.key);
  const vmlane_guard wanted = entry_for(link, attachment_id, guard, !answers_digest.empty());
  VMLANE_ASSIGN(const std::string name, link_name(link));
  if (!entry || !tells_the_same(*entry, wanted) || !has_plain(handle, plain_for(wanted, false))) {
    const std::string whose = guard ? " for MAC " + guard->macs.front().to_string() : "";
    return fail(Code::kChanged, "the guard" + whose + " of " + name + " is not the one that ADD set");
  }
  if (answers_digest.empty()) return {};
  const auto answers = answers_of(handle.answers_map, handle.key);
  if (answers && digest_of(*answers) == answers_digest) return {};
  return fail(Code::kChanged, "the answers for the guest of " + name + " are not those that ADD set");
}

std::string digest_of(const vmlane_answers& answers) {
  vmlane_answers told = answers;
  told.last_ra = 0;
  std::ranges::fill(told.counters, 0);
  return sha256_hex({reinterpret_cast<const char*>(&told), sizeof(told)});
}

Result<> forget_workload(const std::filesystem::path& run_dir, const std::string& attachment_id,
                         const std::optional<WorkloadHandle>& handle) {
  silence_libbpf();
  if (handle) return remove_entry(*handle, attachment_id);
  VMLANE_ASSIGN(const auto builds, all_workload_programs(run_dir));
  for (const WorkloadPrograms& programs : builds) VMLANE_TRY(remove_entries(programs, attachment_id));
  return {};
}

Result<std::vector<std::string>> known_workloads(const std::filesystem::path& run_dir) {
  silence_libbpf();
  std::vector<std::string> ids;
  VMLANE_ASSIGN(const auto builds, all_workload_programs(run_dir));
  for (const WorkloadPrograms& programs : builds) {
    for (const std::uint32_t key : keys_of(programs.map(WorkloadMap::kGuards))) {
      const auto entry = entry_of(programs.map_id(WorkloadMap::kGuards), key);
      if (entry) ids.push_back(id_of(*entry));
    }
  }
  std::ranges::sort(ids);
  return ids;
}

std::optional<WorkloadStatus> workload_status(const WorkloadHandle& handle,
                                              const std::string& attachment_id) {
  silence_libbpf();
  const auto entry = entry_of(handle.guards_map, handle.key);
  if (!entry || !is_of(*entry, attachment_id)) return std::nullopt;
  WorkloadStatus status;
  for (std::size_t reason = 1; reason < kGuardReasons.size(); reason++)
    status.dropped.emplace_back(kGuardReasons[reason], entry->dropped[reason]);
  for (const std::uint64_t id : entry->learned_link_locals) {
    if (id != 0) status.link_locals.push_back(link_local_of(id));
  }
  read_learned(handle, *entry, status);
  const auto answers = answers_of(handle.answers_map, handle.key);
  for (std::size_t kind = 0; answers && kind < kAnswers.size(); kind++)
    status.answered.emplace_back(kAnswers[kind], answers->counters[kind]);
  return status;
}

}  // namespace vmlane::ebpf
