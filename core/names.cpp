// SPDX-License-Identifier: Apache-2.0
#include "core/names.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "core/hash.h"

namespace vmlane::names {
namespace {

constexpr std::size_t kIdDigits = 32;
constexpr std::size_t kShortHashDigits =
    11;  // KubeVirt's choice; "pod", "tap" or "k6t-" + 11 fits a link name
constexpr std::string_view kAliasPrefix = "vmlane:";
constexpr std::string_view kUplinkPrefix = "vmlane-uplink:";

bool is_lower_hex(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_alnum(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0;
}

// A value as it may stand in an error message: control bytes shown as '?', long values cut.
std::string shown(std::string_view value) {
  constexpr std::size_t kMaxShown = 80;
  std::string out(value.substr(0, kMaxShown));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) c = '?';
  }
  if (value.size() > kMaxShown) out += "...";
  return out;
}

}  // namespace

std::string attachment_id(std::string_view network, std::string_view container_id, std::string_view ifname) {
  std::string key(network);
  key += '\0';
  key += container_id;
  key += '\0';
  key += ifname;
  return sha256_hex(key).substr(0, kIdDigits);
}

std::string host_link(std::string_view attachment_id, unsigned salt) {
  constexpr std::size_t kDigits = 12;
  if (salt == 0) return "vml" + std::string(attachment_id.substr(0, kDigits));
  return "vml" + sha256_hex(std::string(attachment_id) + "#" + std::to_string(salt)).substr(0, kDigits);
}

std::string shaper_link(std::string_view attachment_id) {
  constexpr std::size_t kDigits = 12;
  return "vms" + std::string(attachment_id.substr(0, kDigits));
}

std::string vlan_link(std::string_view lower, unsigned vlan) {
  constexpr std::size_t kDigits = 12;
  std::string name = std::string(lower) + "." + std::to_string(vlan);
  if (name.size() > kMaxLinkName) name = "vmv" + sha256_hex(name).substr(0, kDigits);
  return name;
}

std::string macvtap_device_id(const MacvtapSlot& slot) {
  return slot.lower + "-" + std::to_string(slot.index);
}

Result<MacvtapSlot> parse_macvtap_device_id(std::string_view id) {
  // The lower device's name may hold dashes itself.
  const auto dash = id.rfind('-');
  const std::string_view lower = id.substr(0, dash);
  const std::string_view digits = dash == std::string_view::npos ? std::string_view() : id.substr(dash + 1);
  int index = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
  const bool number = error == std::errc() && end == digits.data() + digits.size() && digits[0] != '0';
  if (!number || index < MacvtapSlot::kFirstIndex || index >= MacvtapSlot::kEndIndex) {
    return fail(Code::kInvalidConfig,
                "deviceID \"" + shown(id) + "\" is not a macvtap slot, expected <lower device>-<number>",
                "numbers go from " + std::to_string(MacvtapSlot::kFirstIndex) + " to " +
                    std::to_string(MacvtapSlot::kEndIndex - 1) +
                    "; slots of another device plugin cannot be used");
  }
  VMLANE_TRY(check_link_name(lower, "lower device of deviceID \"" + shown(id) + "\",", Code::kInvalidConfig));
  return MacvtapSlot{std::string(lower), index};
}

std::string uplink_tap(std::string_view state_dir, std::string_view segment) {
  constexpr std::size_t kDigits = 12;
  const std::string hash = sha256_hex("uplink\n" + std::string(state_dir) + "\n" + std::string(segment));
  return "vmu" + hash.substr(0, kDigits);
}

std::string uplink_alias(std::string_view segment) {
  constexpr std::size_t kMaxAlias = 255;
  return (std::string(kUplinkPrefix) + std::string(segment)).substr(0, kMaxAlias);
}

Result<std::string> parse_uplink_alias(std::string_view alias) {
  if (!alias.starts_with(kUplinkPrefix))
    return fail(Code::kNotFound, "link alias \"" + shown(alias) + "\" is not that of an uplink");
  return std::string(alias.substr(kUplinkPrefix.size()));
}

std::string link_alias(std::string_view attachment_id, std::string_view boot_id) {
  return std::string(kAliasPrefix) + std::string(attachment_id) + ":" + std::string(boot_id);
}

Result<LinkOwner> parse_link_alias(std::string_view alias) {
  const bool ours = alias.starts_with(kAliasPrefix) && alias.size() > kAliasPrefix.size() + kIdDigits &&
                    alias[kAliasPrefix.size() + kIdDigits] == ':' &&
                    is_lower_hex(alias.substr(kAliasPrefix.size(), kIdDigits));
  if (!ours) return fail(Code::kNotFound, "link alias \"" + shown(alias) + "\" is not one of vmlane's");
  return LinkOwner{std::string(alias.substr(kAliasPrefix.size(), kIdDigits)),
                   std::string(alias.substr(kAliasPrefix.size() + kIdDigits + 1))};
}

std::string tap_link(std::string_view pod_ifname) {
  if (pod_ifname == "eth0") return "tap0";
  const std::string_view rest = pod_ifname.size() > 3 ? pod_ifname.substr(3) : std::string_view();
  const bool hashed = pod_ifname.starts_with("pod") && rest.size() == kShortHashDigits && is_lower_hex(rest);
  const bool ordinal = pod_ifname.starts_with("net") && !rest.empty() && rest[0] != '0' &&
                       std::ranges::all_of(rest, [](char c) { return c >= '0' && c <= '9'; });
  if (hashed || ordinal) return "tap" + std::string(rest);
  return "tap" + sha256_hex(pod_ifname).substr(0, kShortHashDigits);
}

std::string kubevirt_pod_ifname(std::string_view network_name) {
  return "pod" + sha256_hex(network_name).substr(0, kShortHashDigits);
}

Result<> check_link_name(std::string_view name, std::string_view what, Code code) {
  const std::string subject = std::string(what) + " \"" + shown(name) + "\"";
  if (name.empty()) return fail(code, std::string(what) + " is empty");
  if (name.size() > kMaxLinkName) {
    return fail(code,
                subject + " is " + std::to_string(name.size()) + " bytes long, a link name has at most 15");
  }
  if (name == "." || name == ".." || name[0] == '-') return fail(code, subject + " is not a link name");
  for (const char c : name) {
    // The kernel takes '%' for a pattern to number links by, and some bytes above 0x7f for white space.
    const bool printable = c > 0x20 && c < 0x7f;
    if (!printable || c == '/' || c == ':' || c == '%') {
      return fail(code,
                  subject + " contains '/', ':', '%', white space, or a byte that is not printable ASCII");
    }
  }
  return {};
}

Result<> check_identifier(std::string_view id, std::string_view what, Code code) {
  constexpr std::size_t kMaxIdentifier = 255;
  const bool valid =
      !id.empty() && id.size() <= kMaxIdentifier && is_alnum(id[0]) &&
      std::ranges::all_of(id, [](char c) { return is_alnum(c) || c == '_' || c == '.' || c == '-'; });
  if (valid) return {};
  return fail(code, "invalid characters in " + std::string(what) + " \"" + shown(id) + "\"",
              "it must start with a letter or digit, hold only letters, digits, '_', '.' and '-', and be 1 "
              "to 255 bytes long");
}

Result<> check_plugin_type(std::string_view type, std::string_view what, Code code) {
  return check_identifier(type, what, code);
}

}  // namespace vmlane::names
