// SPDX-License-Identifier: Apache-2.0
#include "cni/result.h"

#include <algorithm>
#include <cctype>

namespace vmlane::cni {
namespace {

// In 0.3 and 0.4 each address says its family.
constexpr Version kAddressVersionUntil{1, 0, 0};
constexpr Version kExtendedSince{1, 1, 0};

Json interface_to_json(const ResultInterface& interface, const Version& version) {
  Json json = {{"name", interface.name}};
  if (!interface.mac.empty()) json["mac"] = interface.mac;
  if (!interface.sandbox.empty()) json["sandbox"] = interface.sandbox;
  if (version < kExtendedSince) return json;
  if (interface.mtu) json["mtu"] = *interface.mtu;
  if (!interface.socket_path.empty()) json["socketPath"] = interface.socket_path;
  if (!interface.pci_id.empty()) json["pciID"] = interface.pci_id;
  return json;
}

Json ip_to_json(const ResultIp& ip, const Version& version) {
  Json json = {{"address", ip.address.to_string()}};
  if (version < kAddressVersionUntil) json["version"] = ip.address.address.v6 ? "6" : "4";
  if (ip.gateway) json["gateway"] = ip.gateway->to_string();
  if (ip.interface) json["interface"] = *ip.interface;
  return json;
}

Json route_to_json(const ResultRoute& route, const Version& version) {
  Json json = {{"dst", route.destination.to_string()}};
  if (route.gateway) json["gw"] = route.gateway->to_string();
  if (version < kExtendedSince) return json;
  if (route.mtu) json["mtu"] = *route.mtu;
  if (route.advmss) json["advmss"] = *route.advmss;
  if (route.priority) json["priority"] = *route.priority;
  if (route.table) json["table"] = *route.table;
  if (route.scope) json["scope"] = *route.scope;
  return json;
}

Result<std::optional<IpAddress>> read_address(ObjectReader& reader, std::string_view key) {
  VMLANE_ASSIGN(const auto text, reader.string(key));
  if (!text || text->empty()) return std::nullopt;
  auto address = IpAddress::parse(*text);
  if (!address) return reader.wrong(key, "an IP address");
  return std::optional(*address);
}

Result<IpPrefix> read_prefix(ObjectReader& reader, std::string_view key) {
  VMLANE_ASSIGN(const auto text, reader.string(key));
  auto prefix = IpPrefix::parse(text.value_or(""));
  if (!prefix) return reader.wrong(key, "an address with prefix length");
  return *prefix;
}

Result<std::optional<std::uint32_t>> read_u32(ObjectReader& reader, std::string_view key) {
  VMLANE_ASSIGN(const auto value, reader.integer(key, 0, UINT32_MAX));
  if (!value) return std::nullopt;
  return static_cast<std::uint32_t>(*value);
}

Result<ResultInterface> read_interface(const Json& json, const std::string& what) {
  ObjectReader reader(json, what, Code::kDecode);
  ResultInterface interface;
  VMLANE_ASSIGN(interface.name, reader.text("name"));
  VMLANE_ASSIGN(interface.mac, reader.text("mac"));
  VMLANE_ASSIGN(interface.sandbox, reader.text("sandbox"));
  VMLANE_ASSIGN(interface.socket_path, reader.text("socketPath"));
  VMLANE_ASSIGN(interface.pci_id, reader.text("pciID"));
  VMLANE_ASSIGN(const auto mtu, read_u32(reader, "mtu"));
  // Zero is how a Go plugin writes "not set".
  if (mtu.value_or(0) != 0) interface.mtu = mtu;
  return interface;
}

Result<ResultIp> read_ip(const Json& json, const std::string& what) {
  ObjectReader reader(json, what, Code::kDecode);
  ResultIp ip;
  VMLANE_ASSIGN(ip.address, read_prefix(reader, "address"));
  VMLANE_ASSIGN(ip.gateway, read_address(reader, "gateway"));
  VMLANE_ASSIGN(const auto interface, reader.integer("interface", -1, INT32_MAX));
  // -1 is how older plugins write "unknown".
  if (interface && *interface >= 0) ip.interface = static_cast<std::size_t>(*interface);
  return ip;
}

Result<ResultRoute> read_route(const Json& json, const std::string& what) {
  ObjectReader reader(json, what, Code::kDecode);
  ResultRoute route;
  VMLANE_ASSIGN(route.destination, read_prefix(reader, "dst"));
  VMLANE_ASSIGN(route.gateway, read_address(reader, "gw"));
  VMLANE_ASSIGN(route.mtu, read_u32(reader, "mtu"));
  VMLANE_ASSIGN(route.advmss, read_u32(reader, "advmss"));
  VMLANE_ASSIGN(route.priority, read_u32(reader, "priority"));
  VMLANE_ASSIGN(route.table, read_u32(reader, "table"));
  VMLANE_ASSIGN(const auto scope, reader.integer("scope", 0, UINT8_MAX));
  if (scope) route.scope = static_cast<std::uint8_t>(*scope);
  return route;
}

template <class Item, class Read>
Result<> read_list(ObjectReader& reader, const std::string& prefix, std::string_view key, Read read,
                   std::vector<Item>& into) {
  VMLANE_ASSIGN(const Json* list, reader.array(key));
  if (list == nullptr) return {};
  for (std::size_t i = 0; i < list->size(); i++) {
    const std::string what = prefix + std::string(key) + "[" + std::to_string(i) + "]";
    if (!(*list)[i].is_object()) return fail(Code::kDecode, "key \"" + what + "\" is no object");
    VMLANE_ASSIGN(Item item, read((*list)[i], what + "."));
    into.push_back(std::move(item));
  }
  return {};
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) == std::tolower(static_cast<unsigned char>(y));
  });
}

Result<Version> version_of(const Json& json, const Version& fallback) {
  for (const auto& [key, value] : json.items()) {
    if (equal_ignoring_case(key, "cniVersion") && value.is_string() &&
        !value.get_ref<const std::string&>().empty()) {
      return Version::parse(value.get_ref<const std::string&>());
    }
  }
  return fallback;
}

// Versions 0.1.0 and 0.2.0: one address for each family under ip4 and ip6, no interfaces.
Result<> read_legacy(ObjectReader& reader, const std::string& prefix, CniResult& result) {
  for (const char* key : {"ip4", "ip6"}) {
    VMLANE_ASSIGN(const Json* family, reader.object(key));
    if (family == nullptr) continue;
    ObjectReader entry(*family, prefix + key + ".", Code::kDecode);
    ResultIp ip;
    VMLANE_ASSIGN(ip.address, read_prefix(entry, "ip"));
    VMLANE_ASSIGN(ip.gateway, read_address(entry, "gateway"));
    result.ips.push_back(ip);
    VMLANE_TRY(read_list(entry, prefix + key + ".", "routes", read_route, result.routes));
  }
  return {};
}

}  // namespace

Json ResultDns::to_json() const {
  Json json = Json::object();
  if (!nameservers.empty()) json["nameservers"] = nameservers;
  if (!domain.empty()) json["domain"] = domain;
  if (!search.empty()) json["search"] = search;
  if (!options.empty()) json["options"] = options;
  return json;
}

Result<ResultDns> ResultDns::from_json(const Json& json, std::string_view what) {
  ObjectReader reader(json, std::string(what) + ".", Code::kDecode);
  ResultDns dns;
  VMLANE_ASSIGN(auto nameservers, reader.strings("nameservers"));
  VMLANE_ASSIGN(auto domain, reader.string("domain"));
  VMLANE_ASSIGN(auto search, reader.strings("search"));
  VMLANE_ASSIGN(auto options, reader.strings("options"));
  dns.nameservers = std::move(nameservers).value_or(std::vector<std::string>());
  dns.domain = std::move(domain).value_or("");
  dns.search = std::move(search).value_or(std::vector<std::string>());
  dns.options = std::move(options).value_or(std::vector<std::string>());
  return dns;
}

Json CniResult::to_json(const Version& version) const {
  Json json = {{"cniVersion", version.to_string()}, {"dns", dns.to_json()}};
  for (const auto& interface : interfaces)
    json["interfaces"].push_back(interface_to_json(interface, version));
  for (const auto& ip : ips) json["ips"].push_back(ip_to_json(ip, version));
  for (const auto& route : routes) json["routes"].push_back(route_to_json(route, version));
  return json;
}

Result<CniResult> CniResult::from_json(const Json& json, const Version& fallback, std::string_view what) {
  if (!json.is_object()) return fail(Code::kDecode, std::string(what) + " is not an object");
  const std::string prefix = std::string(what) + ".";
  VMLANE_ASSIGN(const Version version, version_of(json, fallback));
  CniResult result;
  ObjectReader reader(json, prefix, Code::kDecode);
  if (version < kOldestSupported) {
    VMLANE_TRY(read_legacy(reader, prefix, result));
  } else {
    VMLANE_TRY(read_list(reader, prefix, "interfaces", read_interface, result.interfaces));
    VMLANE_TRY(read_list(reader, prefix, "ips", read_ip, result.ips));
    VMLANE_TRY(read_list(reader, prefix, "routes", read_route, result.routes));
  }
  for (std::size_t i = 0; i < result.ips.size(); i++) {
    if (result.ips[i].interface.value_or(0) >= std::max<std::size_t>(result.interfaces.size(), 1)) {
      return fail(Code::kDecode, "key \"" + prefix + "ips[" + std::to_string(i) +
                                     "].interface\" points behind the " +
                                     std::to_string(result.interfaces.size()) + " interfaces");
    }
  }
  VMLANE_ASSIGN(const Json* dns, reader.object("dns"));
  if (dns != nullptr) {
    VMLANE_ASSIGN(result.dns, ResultDns::from_json(*dns, prefix + "dns"));
  }
  return result;
}

}  // namespace vmlane::cni
