// SPDX-License-Identifier: Apache-2.0
#include "ebpf/source_guard.h"

#include <array>
#include <cstdint>
#include <cstring>
#include <string>

namespace vmlane::ebpf {
namespace {

std::uint64_t interface_id(const IpAddress& address) {
  // As the program puts it together: the third word in the upper half.
  std::array<std::uint32_t, 4> words{};
  std::memcpy(words.data(), address.bytes.data(), sizeof(words));
  constexpr int kWordBits = 32;
  return std::uint64_t{words[2]} << kWordBits | words[3];
}

// `mask` and `address` get as many 32-bit words as the family has.
void write_prefix(const IpPrefix& prefix, std::uint32_t* address, std::uint32_t* mask) {
  constexpr unsigned kByte = 8;
  constexpr unsigned kFullByte = 0xff;
  std::array<std::uint8_t, 16> bits{};
  for (unsigned i = 0; i < prefix.length; i++)
    bits[i / kByte] =
        static_cast<std::uint8_t>(bits[i / kByte] | (kFullByte ^ (kFullByte >> 1)) >> (i % kByte));
  const IpPrefix network = prefix.network();
  std::memcpy(address, network.address.bytes.data(), prefix.address.bits() / kByte);
  std::memcpy(mask, bits.data(), prefix.address.bits() / kByte);
}

std::uint32_t flags_of(const SourceGuard& guard) {
  std::uint32_t flags = VMLANE_GUARD_MACS;
  if (guard.macs_only) return flags;
  flags |= VMLANE_GUARD_FULL;
  if (guard.addresses) flags |= VMLANE_GUARD_ADDRESSES;
  if (guard.trusted) flags |= VMLANE_GUARD_TRUSTED;
  if (guard.trusted || guard.any_destination) flags |= VMLANE_GUARD_ANY_DESTINATION;
  if (guard.tags) flags |= VMLANE_GUARD_TAGS;
  if (guard.learning == Learning::kLeases) flags |= VMLANE_GUARD_LEARN_LEASES;
  if (guard.learning == Learning::kFirst) flags |= VMLANE_GUARD_LEARN_FIRST;
  return flags;
}

}  // namespace

void write_source_guard(const SourceGuard& guard, vmlane_guard& out) {
  out.flags |= flags_of(guard);
  for (const MacAddress& mac : guard.macs)
    std::memcpy(out.macs[out.mac_count++], mac.bytes.data(), mac.bytes.size());
  for (const IpPrefix& prefix : guard.addresses.value_or(std::vector<IpPrefix>())) {
    if (prefix.address.v6) {
      auto& entry = out.ipv6[out.ipv6_count++];
      write_prefix(prefix, entry.address, entry.mask);
    } else {
      auto& entry = out.ipv4[out.ipv4_count++];
      write_prefix(prefix, &entry.address, &entry.mask);
    }
  }
  out.own_link_local = interface_id(guard.macs.front().link_local());
  if (guard.gateway_link_local) out.gateway_link_local = interface_id(*guard.gateway_link_local);
  out.network = guard.network;
}

std::string to_string(Learning learning) {
  if (learning == Learning::kLeases) return "dhcp";
  return learning == Learning::kFirst ? "any" : "none";
}

Result<Learning> learning_from(const std::string& text) {
  for (const Learning known : {Learning::kNone, Learning::kLeases, Learning::kFirst}) {
    if (to_string(known) == text) return known;
  }
  return fail(Code::kDecode, "\"" + text + "\" is no way to learn addresses");
}

Json source_guard_to_json(const SourceGuard& guard) {
  Json json{{"macs", Json::array()},
            {"macs_only", guard.macs_only},
            {"trusted", guard.trusted},
            {"tags", guard.tags},
            {"any_destination", guard.any_destination},
            {"learning", to_string(guard.learning)},
            {"network", guard.network}};
  for (const MacAddress& mac : guard.macs) json["macs"].push_back(mac.to_string());
  if (guard.addresses) {
    json["addresses"] = Json::array();
    for (const IpPrefix& prefix : *guard.addresses) json["addresses"].push_back(prefix.to_string());
  }
  if (guard.gateway_link_local) json["gateway_link_local"] = guard.gateway_link_local->to_string();
  return json;
}

Result<SourceGuard> source_guard_from_json(const Json& json) {
  ObjectReader reader(json, "handles.source_guard.", Code::kDecode);
  SourceGuard guard;
  VMLANE_ASSIGN(const auto macs, reader.strings("macs"));
  for (const std::string& text : macs.value_or(std::vector<std::string>())) {
    VMLANE_ASSIGN(const MacAddress mac, MacAddress::parse(text));
    guard.macs.push_back(mac);
  }
  VMLANE_ASSIGN(const auto addresses, reader.strings("addresses"));
  if (addresses) guard.addresses.emplace();
  for (const std::string& text : addresses.value_or(std::vector<std::string>())) {
    VMLANE_ASSIGN(const IpPrefix prefix, IpPrefix::parse(text));
    guard.addresses->push_back(prefix);
  }
  VMLANE_ASSIGN(const auto gateway, reader.string("gateway_link_local"));
  if (gateway) {
    VMLANE_ASSIGN(guard.gateway_link_local, IpAddress::parse(*gateway));
  }
  guard.macs_only = json.value("macs_only", false);
  guard.trusted = json.value("trusted", false);
  guard.tags = json.value("tags", false);
  guard.any_destination = json.value("any_destination", false);
  guard.network = json.value("network", std::uint32_t{0});
  VMLANE_ASSIGN(guard.learning, learning_from(json.value("learning", "none")));
  if (guard.macs.empty()) return fail(Code::kDecode, "the record's handles.source_guard names no MAC");
  return guard;
}

}  // namespace vmlane::ebpf
