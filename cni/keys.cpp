// SPDX-License-Identifier: Apache-2.0
#include "cni/keys.h"

#include <string>

#include "cni/ipam.h"
#include "cni/request.h"

namespace vmlane::cni {
namespace {

// RFC 791's smallest datagram every link must carry, and the largest a 16-bit length can say.
constexpr std::int64_t kMinMtu = 68;
constexpr std::int64_t kMaxMtu = 65535;
// libvirt and the tun and tap drivers (MAX_TAP_QUEUES) stop there.
constexpr std::int64_t kMaxQueues = 256;
constexpr std::int64_t kMaxId = 0xfffffffe;

bool says_nothing(const Json& value) {
  return value.is_null() || value == false || value == 0 ||
         ((value.is_string() || value.is_array() || value.is_object()) && value.empty());
}

}  // namespace

Result<bool> parse_flag(ObjectReader& reader, std::string_view key) {
  VMLANE_ASSIGN(const auto value, reader.boolean(key));
  return value.value_or(false);
}

Result<std::optional<std::uint32_t>> parse_mtu(ObjectReader& reader) {
  VMLANE_ASSIGN(const auto mtu, reader.integer("mtu", 0, kMaxMtu));
  if (mtu.value_or(0) == 0) return std::nullopt;
  if (*mtu < kMinMtu)
    return reader.wrong(
        "mtu", "0 or a whole number from " + std::to_string(kMinMtu) + " to " + std::to_string(kMaxMtu));
  return static_cast<std::uint32_t>(*mtu);
}

Result<GuestDevice> parse_guest_device(ObjectReader& reader, const NodeConfig& node) {
  VMLANE_ASSIGN(const auto queues, reader.integer("queues", 1, kMaxQueues));
  VMLANE_ASSIGN(const auto owner, reader.integer("owner", 0, kMaxId));
  VMLANE_ASSIGN(const auto group, reader.integer("group", 0, kMaxId));
  return GuestDevice{.queues = static_cast<std::uint32_t>(queues.value_or(1)),
                     .owner = owner ? static_cast<std::uint32_t>(*owner) : node.owner_uid,
                     .group = group ? static_cast<std::uint32_t>(*group) : node.owner_gid};
}

Result<> refuse_dhcp(const Json& config, std::string_view lane) {
  VMLANE_ASSIGN(const Ipam ipam, Ipam::parse(config));
  if (ipam.type() != "dhcp") return {};
  return fail(
      Code::kUnsupportedField,
      "key \"ipam.type\" is \"dhcp\", which cannot work on the " + std::string(lane) + " lane",
      "the guest itself is the DHCP client: leave \"ipam\" out, or name an allocator such as host-local");
}

ConfigKeys config_keys(const Json& config, const ObjectReader& reader) {
  ConfigKeys keys{.known = reader.asked(), .unknown = reader.unknown()};
  std::erase_if(keys.unknown, [&](const std::string& key) {
    return is_common_config_key(key) || says_nothing(config[key]);
  });
  return keys;
}

}  // namespace vmlane::cni
