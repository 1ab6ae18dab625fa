// SPDX-License-Identifier: Apache-2.0
#include "cni/source_guard.h"

#include <algorithm>
#include <string>

namespace vmlane::cni {
namespace {

Error bad_entry(std::size_t index, const Json& value) {
  return {Code::kInvalidConfig,
          "key \"allowedAddresses[" + std::to_string(index) + "]\" is " + to_text(value) +
              ", expected an IP address, a prefix or a MAC address",
          "for example \"192.0.2.7\", \"2001:db8::/64\" or \"00:00:5e:00:01:0a\"", nullptr};
}

Result<> parse_allowed(const Json& list, SourceGuardConfig& config) {
  for (std::size_t i = 0; i < list.size(); i++) {
    if (!list[i].is_string()) return fail(bad_entry(i, list[i]));
    const auto text = list[i].get<std::string>();
    if (const auto mac = MacAddress::parse(text)) {
      if (!mac->usable()) return fail(bad_entry(i, list[i]));
      config.allowed_macs.push_back(*mac);
      continue;
    }
    const bool is_prefix = text.find('/') != std::string::npos;
    const auto address = IpAddress::parse(text);
    const auto prefix = IpPrefix::parse(text);
    if (is_prefix ? !prefix : !address) return fail(bad_entry(i, list[i]));
    config.allowed_addresses.push_back(is_prefix ? *prefix : IpPrefix{*address, address->bits()});
  }
  return {};
}

Result<> refuse_too_many(const SourceGuardConfig& config) {
  const auto v6 = std::ranges::count_if(config.allowed_addresses,
                                        [](const IpPrefix& prefix) { return prefix.address.v6; });
  const auto most = std::max(v6, std::ssize(config.allowed_addresses) - v6);
  // One place of each kind is the NIC's own.
  if (config.allowed_macs.size() < ebpf::SourceGuard::kMaxMacs &&
      most < static_cast<std::ptrdiff_t>(ebpf::SourceGuard::kMaxAddresses))
    return {};
  return fail(Code::kInvalidConfig,
              "key \"allowedAddresses\" has too many entries, the limits are " +
                  std::to_string(ebpf::SourceGuard::kMaxMacs - 1) + " MAC addresses and " +
                  std::to_string(ebpf::SourceGuard::kMaxAddresses - 1) + " addresses or prefixes of a family",
              "allow a prefix instead of its addresses");
}

// The addresses are known where an allocator gave some, or somebody named them.
std::optional<std::vector<IpPrefix>> addresses_of(const SourceGuardConfig& config,
                                                  const std::vector<ResultIp>& ips) {
  std::vector<IpPrefix> addresses;
  for (const ResultIp& ip : ips) addresses.push_back({ip.address.address, ip.address.address.bits()});
  addresses.insert(addresses.end(), config.allowed_addresses.begin(), config.allowed_addresses.end());
  if (addresses.empty()) return std::nullopt;
  return addresses;
}

Result<> parse_learning(ObjectReader& reader, bool has_ipam, SourceGuardConfig& config) {
  VMLANE_ASSIGN(const auto how, reader.string("learnAddresses"));
  if (!how) return {};
  const auto learning = ebpf::learning_from(*how);
  if (!learning) return reader.wrong("learnAddresses", "\"dhcp\", \"any\" or \"none\"");
  config.learning = *learning;
  if (config.learning == ebpf::Learning::kNone) return {};
  if (has_ipam) {
    return fail(Code::kInvalidConfig, "key \"learnAddresses\" is \"" + *how + "\" on a network with \"ipam\"",
                "the addresses are known there: name further ones in \"allowedAddresses\"");
  }
  if (!config.spoof_check) {
    return fail(Code::kInvalidConfig,
                "key \"learnAddresses\" is \"" + *how + "\" and \"spoofCheck\" is not true",
                "nobody would look at the addresses: switch that on, or remove the key");
  }
  return {};
}

}  // namespace

Result<SourceGuardConfig> parse_source_guard(ObjectReader& reader, bool on_by_default, bool has_ipam) {
  SourceGuardConfig config;
  VMLANE_ASSIGN(const auto spoof_check, reader.boolean("spoofCheck"));
  VMLANE_ASSIGN(const auto macs_only, reader.boolean("macspoofchk"));
  VMLANE_ASSIGN(const auto trusted, reader.boolean("trusted"));
  VMLANE_ASSIGN(const Json* allowed, reader.array("allowedAddresses"));
  config.spoof_check = spoof_check.value_or(on_by_default);
  config.macs_only = !config.spoof_check && macs_only.value_or(false);
  config.trusted = trusted.value_or(false);
  VMLANE_TRY(parse_learning(reader, has_ipam, config));
  if (allowed != nullptr) {
    VMLANE_TRY(parse_allowed(*allowed, config));
    VMLANE_TRY(refuse_too_many(config));
  }
  const char* without = config.trusted ? "trusted" : "allowedAddresses";
  const bool asks = config.trusted || (allowed != nullptr && !allowed->empty());
  if (asks && !config.spoof_check) {
    return fail(Code::kInvalidConfig,
                "key \"" + std::string(without) + "\" is set and \"spoofCheck\" is not true",
                "it loosens the check of senders: switch that on, or remove the key");
  }
  return config;
}

std::optional<ebpf::SourceGuard> source_guard(const SourceGuardConfig& config, const MacAddress& mac,
                                              const std::vector<ResultIp>& ips) {
  if (!config.spoof_check && !config.macs_only) return std::nullopt;
  ebpf::SourceGuard guard;
  guard.macs = {mac};
  guard.macs.insert(guard.macs.end(), config.allowed_macs.begin(), config.allowed_macs.end());
  guard.macs_only = config.macs_only;
  guard.trusted = config.trusted;
  if (config.macs_only) return guard;
  guard.addresses = addresses_of(config, ips);
  for (const ResultIp& ip : ips) guard.claimed.push_back(ip.address.address);
  using ebpf::Learning;
  guard.learning = config.learning.value_or(guard.addresses ? Learning::kNone : Learning::kLeases);
  return guard;
}

}  // namespace vmlane::cni
