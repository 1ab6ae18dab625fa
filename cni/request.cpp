// SPDX-License-Identifier: Apache-2.0
#include "cni/request.h"

#include <algorithm>
#include <array>

namespace vmlane::cni {
namespace {

constexpr std::array<std::string_view, 6> kCommandNames = {"ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"};
static_assert(kCommandNames.size() == static_cast<std::size_t>(Command::kVersion) + 1);

// A member object of the config, or an empty one: runtimeConfig and args are optional.
Result<Json> member_object(const Json& parent, std::string_view key, const std::string& what) {
  ObjectReader reader(parent, what, Code::kInvalidConfig);
  VMLANE_ASSIGN(const Json* object, reader.object(key));
  return object == nullptr ? Json::object() : *object;
}

struct Sources {
  Json runtime_config;
  Json cni_args;  // args.cni
};

Result<Sources> sources_of(const Request& request) {
  Sources sources;
  VMLANE_ASSIGN(sources.runtime_config, member_object(request.config, "runtimeConfig", ""));
  VMLANE_ASSIGN(const Json args, member_object(request.config, "args", ""));
  VMLANE_ASSIGN(sources.cni_args, member_object(args, "cni", "args."));
  return sources;
}

Result<std::string> text_of(const Json& object, std::string_view key, const std::string& what) {
  ObjectReader reader(object, what, Code::kInvalidConfig);
  return reader.text(key);
}

Result<std::optional<MacAddress>> requested_mac(const Request& request, const Sources& sources) {
  VMLANE_ASSIGN(const std::string runtime, text_of(sources.runtime_config, "mac", "runtimeConfig."));
  VMLANE_ASSIGN(const std::string arguments, text_of(sources.cni_args, "mac", "args.cni."));
  VMLANE_ASSIGN(const std::string config, text_of(request.config, "mac", ""));
  const auto environment = request.args.find("MAC");
  struct Source {
    const char* name;
    std::string value;
    Code code;
  };
  const std::array<Source, 4> by_precedence = {
      {{"key \"runtimeConfig.mac\"", runtime, Code::kInvalidConfig},
       {"key \"args.cni.mac\"", arguments, Code::kInvalidConfig},
       {"MAC in CNI_ARGS", environment == request.args.end() ? "" : environment->second,
        Code::kBadEnvironment},
       {"key \"mac\"", config, Code::kInvalidConfig}}};
  std::optional<MacAddress> chosen;
  // Also what loses must be an address: a typo must not lie in wait for the day another source goes away.
  for (const Source& source : by_precedence) {
    if (source.value.empty()) continue;
    VMLANE_ASSIGN(const MacAddress mac, MacAddress::parse_usable(source.value, source.name, source.code));
    if (!chosen) chosen = mac;
  }
  return chosen;
}

// Multus writes one device under several keys; the first in order of precedence that is not empty counts.
Result<std::string> requested_device(const Request& request, const Sources& sources) {
  VMLANE_ASSIGN(const std::string runtime, text_of(sources.runtime_config, "deviceID", "runtimeConfig."));
  VMLANE_ASSIGN(const std::string device, text_of(request.config, "deviceID", ""));
  VMLANE_ASSIGN(const std::string pci, text_of(request.config, "pciBusID", ""));
  std::string id = !runtime.empty() ? runtime : (!device.empty() ? device : pci);
  const bool safe = id.size() <= 255 && id != "." && id != ".." && std::ranges::all_of(id, [](char c) {
                      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                             c == ':' || c == '.' || c == '-' || c == '_';
                    });
  if (!safe) {
    return fail(Code::kInvalidConfig, "deviceID " + to_text(Json(id.substr(0, 80))) + " is not a device id",
                "it may hold letters, digits, ':', '.', '-' and '_'");
  }
  return id;
}

Result<ResultDns> requested_dns(const Request& request, const Sources& sources) {
  ObjectReader runtime(sources.runtime_config, "runtimeConfig.", Code::kInvalidConfig);
  VMLANE_ASSIGN(const Json* capability, runtime.object("dns"));
  if (capability != nullptr) {
    ObjectReader reader(*capability, "runtimeConfig.dns.", Code::kInvalidConfig);
    ResultDns dns;
    VMLANE_ASSIGN(auto servers, reader.strings("servers"));
    VMLANE_ASSIGN(auto searches, reader.strings("searches"));
    VMLANE_ASSIGN(auto options, reader.strings("options"));
    dns.nameservers = std::move(servers).value_or(std::vector<std::string>());
    dns.search = std::move(searches).value_or(std::vector<std::string>());
    dns.options = std::move(options).value_or(std::vector<std::string>());
    if (!dns.empty()) return dns;
  }
  ObjectReader config(request.config, "", Code::kInvalidConfig);
  VMLANE_ASSIGN(const Json* own, config.object("dns"));
  if (own == nullptr) return ResultDns();
  auto dns = ResultDns::from_json(*own, "dns");
  if (!dns) return fail(Code::kInvalidConfig, dns.error().message);
  return *dns;
}

// Rate and burst of one direction, keys `<name>Rate` and `<name>Burst`. Runtimes write 0 for both when a pod
// asks for none.
Result<> read_limit(ObjectReader& reader, const std::string& name, std::uint64_t& rate,
                    std::uint64_t& burst) {
  // The kernel's token bucket counts the bytes of a burst in 32 bits; 2^50 bit/s is more than any link has.
  constexpr std::int64_t kMaxRate = std::int64_t{1} << 50;
  constexpr std::int64_t kMaxBurst = std::int64_t{UINT32_MAX} * 8;
  VMLANE_ASSIGN(const auto rate_value, reader.integer(name + "Rate", 0, kMaxRate));
  VMLANE_ASSIGN(const auto burst_value, reader.integer(name + "Burst", 0, kMaxBurst));
  rate = static_cast<std::uint64_t>(rate_value.value_or(0));
  burst = static_cast<std::uint64_t>(burst_value.value_or(0));
  const std::string prefix = "key \"runtimeConfig.bandwidth." + name;
  if (rate == 0 && burst != 0)
    return fail(Code::kInvalidConfig,
                prefix + "Burst\" is " + std::to_string(burst) + " without a " + name + "Rate",
                "a burst is what may exceed a rate: set " + name + "Rate, or remove the burst");
  if (rate_value && rate == 0 && !burst_value)
    return fail(Code::kInvalidConfig, prefix + "Rate\" is 0",
                "leave the key out for no limit, or set at least 1 bit/s");
  return {};
}

Result<Bandwidth> requested_bandwidth(const Sources& sources) {
  ObjectReader runtime(sources.runtime_config, "runtimeConfig.", Code::kInvalidConfig);
  VMLANE_ASSIGN(const Json* object, runtime.object("bandwidth"));
  Bandwidth bandwidth;
  if (object == nullptr) return bandwidth;
  ObjectReader reader(*object, "runtimeConfig.bandwidth.", Code::kInvalidConfig);
  VMLANE_TRY(read_limit(reader, "ingress", bandwidth.ingress_rate, bandwidth.ingress_burst));
  VMLANE_TRY(read_limit(reader, "egress", bandwidth.egress_rate, bandwidth.egress_burst));
  return bandwidth;
}

}  // namespace

std::string_view to_string(Command command) {
  return kCommandNames[static_cast<std::size_t>(command)];
}

Result<CniArgs> parse_cni_args(std::string_view text) {
  CniArgs args;
  while (!text.empty()) {
    const auto semicolon = text.find(';');
    const std::string_view pair = text.substr(0, semicolon);
    text = semicolon == std::string_view::npos ? std::string_view() : text.substr(semicolon + 1);
    if (pair.empty()) continue;
    const auto equals = pair.find('=');
    if (equals == std::string_view::npos || pair.find('=', equals + 1) != std::string_view::npos) {
      return fail(
          Code::kBadEnvironment,
          "CNI_ARGS has the pair " + to_text(Json(std::string(pair.substr(0, 80)))) + ", expected KEY=VALUE");
    }
    args[std::string(pair.substr(0, equals))] = std::string(pair.substr(equals + 1));
  }
  return args;
}

Result<NicRequest> parse_nic_request(const Request& request) {
  VMLANE_ASSIGN(const Sources sources, sources_of(request));
  NicRequest nic;
  VMLANE_ASSIGN(nic.mac, requested_mac(request, sources));
  VMLANE_ASSIGN(nic.device_id, requested_device(request, sources));
  VMLANE_ASSIGN(nic.bandwidth, requested_bandwidth(sources));
  VMLANE_ASSIGN(nic.dns, requested_dns(request, sources));
  VMLANE_ASSIGN(nic.nad, text_of(sources.cni_args, "nad", "args.cni."));
  VMLANE_ASSIGN(nic.device_info_file, text_of(sources.runtime_config, "CNIDeviceInfoFile", "runtimeConfig."));
  return nic;
}

Result<std::optional<std::vector<AttachmentKey>>> parse_valid_attachments(const Request& request) {
  ObjectReader reader(request.config, "", Code::kInvalidConfig);
  const char* name = "cni.dev/valid-attachments";
  VMLANE_ASSIGN(const Json* list, reader.array(name));
  if (list == nullptr) {
    name = "cni.dev/attachments";  // the name in the first text of specification 1.1; libcni writes both
    VMLANE_ASSIGN(list, reader.array(name));
  }
  if (list == nullptr) return std::nullopt;
  std::vector<AttachmentKey> keys;
  for (std::size_t i = 0; i < list->size(); i++) {
    const std::string what = std::string(name) + "[" + std::to_string(i) + "]";
    if (!(*list)[i].is_object()) return fail(Code::kInvalidConfig, "key \"" + what + "\" is no object");
    ObjectReader entry((*list)[i], what + ".", Code::kInvalidConfig);
    VMLANE_ASSIGN(const auto container, entry.string("containerID"));
    VMLANE_ASSIGN(const auto ifname, entry.string("ifname"));
    // An entry that could not be read must not make its attachment look dead.
    if (!container) return entry.wrong("containerID", "a container id");
    if (!ifname) return entry.wrong("ifname", "an interface name");
    keys.push_back({request.key.network, *container, *ifname});
  }
  return std::optional(std::move(keys));
}

bool is_common_config_key(std::string_view key) {
  constexpr std::array<std::string_view, 16> kKeys = {
      "cniVersion", "cniVersions",  "name",      "type",   "capabilities", "runtimeConfig",
      "args",       "prevResult",   "ipam",      "dns",    "deviceID",     "pciBusID",
      "mac",        "disableCheck", "disableGC", "plugins"};
  return key.starts_with("cni.dev/") || std::ranges::find(kKeys, key) != kKeys.end();
}

}  // namespace vmlane::cni
