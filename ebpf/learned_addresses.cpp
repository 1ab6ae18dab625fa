// SPDX-License-Identifier: Apache-2.0
#include "ebpf/learned_addresses.h"

#include <bpf/bpf.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <string>

#include "ebpf/libbpf_error.h"
#include "ebpf/workload_layout.bpf.h"

namespace vmlane::ebpf {
namespace {

constexpr std::size_t kMappedPrefix = 12;  // ::ffff:0:0/96

std::array<std::uint8_t, 16> mapped(const IpAddress& address) {
  std::array<std::uint8_t, 16> out{};
  out[kMappedPrefix - 2] = out[kMappedPrefix - 1] = 0xff;
  std::copy_n(address.bytes.begin(), sizeof(std::uint32_t), out.begin() + kMappedPrefix);
  return out;
}

IpAddress ipv4_of(std::uint32_t word) {
  IpAddress address{};
  std::memcpy(address.bytes.data(), &word, sizeof(word));
  return address;
}

// Four words as the programs have them, IPv4 mapped.
IpAddress address_of(const std::uint32_t* words) {
  IpAddress address{.v6 = true};
  std::memcpy(address.bytes.data(), words, address.bytes.size());
  const IpAddress ipv4 = ipv4_of(words[3]);
  return address.bytes == mapped(ipv4) ? ipv4 : address;
}

vmlane_network_address claim_of(std::uint32_t network, const IpAddress& address) {
  vmlane_network_address out{network, {}};
  const auto bytes = address.v6 ? address.bytes : mapped(address);
  std::memcpy(out.address, bytes.data(), sizeof(out.address));
  return out;
}

// Whoever learned the address has it no longer: its traffic does not take the short way.
void expel(const WorkloadPrograms& programs, std::uint32_t key, const IpAddress& address) {
  vmlane_plain plain{};
  if (bpf_map_lookup_elem(programs.map(WorkloadMap::kPlains).get(), &key, &plain) != 0) return;
  if ((plain.flags & VMLANE_PLAIN_LEARNS) == 0) return;
  (address.v6 ? plain.ipv6[0] : plain.ipv4) = 0;
  bpf_map_update_elem(programs.map(WorkloadMap::kPlains).get(), &key, &plain, BPF_ANY);
}

constexpr std::uint64_t kSecond = 1'000'000'000;  // nanoseconds

std::uint64_t boot_clock() {
  timespec clock{};
  ::clock_gettime(CLOCK_BOOTTIME, &clock);
  return static_cast<std::uint64_t>(clock.tv_sec) * kSecond + static_cast<std::uint64_t>(clock.tv_nsec);
}

bool has_claim(const Fd& claims, std::uint32_t key, std::uint32_t slot, const vmlane_guard& guard) {
  const auto address = claim_of(guard.network, address_of(guard.learned[slot].address));
  vmlane_claim found{};
  return claims && bpf_map_lookup_elem(claims.get(), &address, &found) == 0 && found.owner == key &&
         found.slot == slot;
}

Result<> release_claim(const Fd& claims, std::uint32_t key, const vmlane_network_address& address) {
  vmlane_claim found{};
  if (bpf_map_lookup_elem(claims.get(), &address, &found) != 0 || found.owner != key) return {};
  if (bpf_map_delete_elem(claims.get(), &address) == 0 || errno == ENOENT) return {};
  return fail(libbpf_error("cannot release an address of a workload", errno));
}

}  // namespace

Result<> claim_addresses(const WorkloadPrograms& programs, std::uint16_t key, const SourceGuard& guard) {
  const vmlane_claim mine{key, VMLANE_GUARD_MAX_LEARNED, VMLANE_WITHOUT_END};
  for (const IpAddress& address : guard.claimed) {
    const vmlane_network_address where = claim_of(guard.network, address);
    vmlane_claim before{};
    const bool had_owner =
        bpf_map_lookup_elem(programs.map(WorkloadMap::kClaims).get(), &where, &before) == 0;
    if (bpf_map_update_elem(programs.map(WorkloadMap::kClaims).get(), &where, &mine, BPF_ANY) != 0) {
      if (errno != E2BIG) return fail(libbpf_error("cannot claim " + address.to_string(), errno));
      return fail(Code::kConflict,
                  "the node has no room for another address, the limit is " +
                      std::to_string(VMLANE_MAX_CLAIMS) + " that guests were given or learned",
                  "a GC removes what is left of workloads that are gone");
    }
    if (had_owner && before.owner != key) expel(programs, before.owner, address);
  }
  return {};
}

Result<> release_addresses(std::uint32_t claims_map, std::uint16_t key, const vmlane_guard& guard) {
  const Fd claims(bpf_map_get_fd_by_id(claims_map));
  if (!claims) return {};
  for (const vmlane_learned& learned : guard.learned) {
    if (learned.until != 0)
      VMLANE_TRY(release_claim(claims, key, claim_of(guard.network, address_of(learned.address))));
  }
  for (std::uint32_t i = 0; i < std::min(guard.ipv4_count, std::uint32_t{VMLANE_GUARD_MAX_IPV4}); i++)
    VMLANE_TRY(release_claim(claims, key, claim_of(guard.network, ipv4_of(guard.ipv4[i].address))));
  for (std::uint32_t i = 0; i < std::min(guard.ipv6_count, std::uint32_t{VMLANE_GUARD_MAX_IPV6}); i++)
    VMLANE_TRY(release_claim(claims, key, claim_of(guard.network, address_of(guard.ipv6[i].address))));
  return {};
}

void read_learned(const WorkloadHandle& handle, const vmlane_guard& guard, WorkloadStatus& status) {
  const Fd claims(bpf_map_get_fd_by_id(handle.claims_map));
  const std::uint64_t now = boot_clock();
  for (std::uint32_t slot = 0; slot < VMLANE_GUARD_MAX_LEARNED; slot++) {
    const vmlane_learned& learned = guard.learned[slot];
    if (learned.until <= now || !has_claim(claims, handle.key, slot, guard)) continue;
    LearnedAddress& out = status.learned.emplace_back(LearnedAddress{address_of(learned.address), {}});
    if (learned.until != VMLANE_WITHOUT_END) out.left = std::chrono::seconds((learned.until - now) / kSecond);
  }
  if ((guard.flags & VMLANE_GUARD_LEARN_LEASES) == 0) return;
  if ((guard.bound & VMLANE_BOUND_IPV4) == 0) status.learning.emplace_back("ipv4");
  if ((guard.bound & (VMLANE_BOUND_IPV6 | VMLANE_AUTOCONF)) != VMLANE_BOUND_IPV6)
    status.learning.emplace_back("ipv6");
}

}  // namespace vmlane::ebpf
