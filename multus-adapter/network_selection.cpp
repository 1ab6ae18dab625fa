// SPDX-License-Identifier: Apache-2.0
#include "multus-adapter/network_selection.h"

#include <algorithm>
#include <array>
#include <map>

#include "core/names.h"
#include "manifests/fields.h"
#include "multus-adapter/json_text.h"

namespace vmlane::multus {
namespace {

constexpr std::array<std::string_view, 13> kElementKeys = {
    "name",         "namespace", "interface",       "interfaceRequest",
    "mac",          "ips",       "default-route",   "cni-args",
    "portMappings", "bandwidth", "infiniband-guid", "ipam-claim-reference",
    "deviceID"};

std::string trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return std::string(text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1));
}

std::unexpected<Error> at(const Error& error, const std::string& origin) {
  return fail(error.code, origin + ": " + error.message, error.details);
}

Result<> check_reference(const NetworkSelection& selection) {
  VMLANE_TRY(check_dns_label(selection.ns, "namespace"));
  return check_dns_subdomain(selection.name, "network name");
}

// "[namespace/]name[@interface]"
Result<NetworkSelection> parse_short(std::string_view element, const std::string& default_ns,
                                     const std::string& origin) {
  NetworkSelection selection{.ns = default_ns, .origin = origin};
  std::string rest = trimmed(element);
  if (rest.empty())
    return fail(Code::kInvalidConfig, origin + " is empty", "expected [namespace/]name[@interface]");
  if (const auto mark = rest.find('@'); mark != std::string::npos) {
    selection.ifname = rest.substr(mark + 1);
    rest.resize(mark);
    const auto valid = names::check_link_name(selection.ifname, "interface name", Code::kInvalidConfig);
    if (!valid) return at(valid.error(), origin);
  }
  if (const auto slash = rest.find('/'); slash != std::string::npos) {
    selection.ns = rest.substr(0, slash);
    rest.erase(0, slash + 1);
  }
  selection.name = rest;
  const auto valid = check_reference(selection);
  if (!valid) return at(valid.error(), origin);
  return selection;
}

// Reads one element of the JSON form. Errors have no place yet; `bad_key` names the key they are about.
class ElementReader {
 public:
  ElementReader(const Json& element, NetworkSelection& selection)
      : element_(element), reader_(element, "", Code::kInvalidConfig), selection_(selection) {}

  Result<> read() {
    VMLANE_TRY(check_keys());
    VMLANE_TRY(read_reference());
    VMLANE_TRY(read_mac());
    VMLANE_TRY(read_ips());
    VMLANE_TRY(read_default_route());
    VMLANE_TRY(read_objects());
    return read_devices();
  }
  const std::string& bad_key() const { return key_; }

 private:
  Result<std::optional<std::string>> text(const char* key) {
    key_ = key;
    return reader_.string(key);
  }

  Result<> check_keys() {
    for (const auto& [key, value] : element_.items()) {
      // Keys that are not the standard's are for others when they are reverse-DNS; else they are slips.
      if (std::ranges::find(kElementKeys, key) != kElementKeys.end() || key.find('.') != std::string::npos)
        continue;
      key_ = key;
      return fail(Code::kInvalidConfig, "unknown key " + to_text(Json(key)) + did_you_mean(key, kElementKeys),
                  "keys of other parties must be reverse-DNS names, such as com.example.key");
    }
    return {};
  }

  Result<> read_reference() {
    VMLANE_ASSIGN(const auto name, text("name"));
    if (!name) return reader_.wrong("name", "the name of a NetworkAttachmentDefinition");
    selection_.name = *name;
    VMLANE_TRY(check_dns_subdomain(selection_.name, "network name"));
    VMLANE_ASSIGN(const auto ns, text("namespace"));
    if (ns && !ns->empty()) selection_.ns = *ns;
    VMLANE_TRY(check_dns_label(selection_.ns, "namespace"));
    VMLANE_ASSIGN(const auto legacy, text("interfaceRequest"));
    VMLANE_ASSIGN(const auto ifname, text("interface"));
    if (ifname && legacy && *ifname != *legacy) {
      return fail(Code::kInvalidConfig, "\"interface\" and its old name \"interfaceRequest\" differ",
                  "give one of them");
    }
    selection_.ifname = ifname.value_or(legacy.value_or(""));
    if (selection_.ifname.empty()) return {};
    return names::check_link_name(selection_.ifname, "interface name", Code::kInvalidConfig);
  }

  Result<> read_mac() {
    VMLANE_ASSIGN(const auto mac, text("mac"));
    if (!mac || mac->empty()) return {};
    VMLANE_ASSIGN(selection_.mac, MacAddress::parse_usable(*mac, "mac", Code::kInvalidConfig));
    return {};
  }

  Result<> read_ips() {
    key_ = "ips";
    VMLANE_ASSIGN(auto ips, reader_.strings("ips"));
    selection_.ips = std::move(ips).value_or(std::vector<std::string>());
    for (const std::string& ip : selection_.ips) {
      const bool valid = ip.find('/') == std::string::npos ? IpAddress::parse(ip).has_value()
                                                           : IpPrefix::parse(ip).has_value();
      if (!valid)
        return fail(Code::kInvalidConfig,
                    "\"ips\" has " + to_text(Json(ip)) + ", expected an address, with or without /length");
    }
    VMLANE_ASSIGN(const auto claim, text("ipam-claim-reference"));
    if (claim && !selection_.ips.empty()) {
      return fail(Code::kInvalidConfig, "\"ips\" and \"ipam-claim-reference\" exclude each other");
    }
    return {};
  }

  Result<> read_default_route() {
    key_ = "default-route";
    VMLANE_ASSIGN(const auto gateways, reader_.strings("default-route"));
    for (const std::string& gateway : gateways.value_or(std::vector<std::string>())) {
      const auto address = IpAddress::parse(gateway);
      if (!address)
        return fail(Code::kInvalidConfig,
                    "\"default-route\" has " + to_text(Json(gateway)) + ", expected an address");
      if (std::ranges::find(selection_.default_route, address->v6, &IpAddress::v6) !=
          selection_.default_route.end()) {
        return fail(
            Code::kInvalidConfig,
            std::string("\"default-route\" has more than one IPv") + (address->v6 ? "6" : "4") + " gateway",
            "one gateway for each address family");
      }
      selection_.default_route.push_back(*address);
    }
    return {};
  }

  Result<> read_objects() {
    key_ = "cni-args";
    VMLANE_ASSIGN(const Json* cni_args, reader_.object("cni-args"));
    if (cni_args != nullptr) selection_.cni_args = *cni_args;
    key_ = "bandwidth";
    VMLANE_ASSIGN(const Json* bandwidth, reader_.object("bandwidth"));
    if (bandwidth != nullptr) {
      ObjectReader rates(*bandwidth, "bandwidth.", Code::kInvalidConfig);
      for (const char* rate : {"ingressRate", "ingressBurst", "egressRate", "egressBurst"}) {
        VMLANE_TRY(rates.integer(rate, 0, INT64_MAX));
      }
      selection_.bandwidth = *bandwidth;
    }
    key_ = "portMappings";
    VMLANE_ASSIGN(const Json* mappings, reader_.array("portMappings"));
    if (mappings == nullptr) return {};
    for (const Json& mapping : *mappings) {
      if (!mapping.is_object()) return reader_.wrong("portMappings", "a list of objects");
      ObjectReader ports(mapping, "portMappings[].", Code::kInvalidConfig);
      for (const char* port : {"hostPort", "containerPort"}) VMLANE_TRY(ports.integer(port, 1, 65535));
    }
    selection_.port_mappings = *mappings;
    return {};
  }

  Result<> read_devices() {
    VMLANE_ASSIGN(selection_.infiniband_guid, text("infiniband-guid"));
    VMLANE_ASSIGN(selection_.device_id, text("deviceID"));
    if (!selection_.device_id) return {};
    // PCI addresses have colons; nothing that could leave a directory.
    const std::string& id = *selection_.device_id;
    const bool valid = !id.empty() && id.size() <= 255 && id != "." && id != ".." &&
                       std::ranges::all_of(id, [](unsigned char c) {
                         return std::isalnum(c) != 0 || c == ':' || c == '.' || c == '_' || c == '-';
                       });
    if (!valid) return reader_.wrong("deviceID", "letters, digits, ':', '.', '_' and '-'");
    return {};
  }

  const Json& element_;
  ObjectReader reader_;
  NetworkSelection& selection_;
  std::string key_;
};

Result<NetworkSelection> parse_element(const Json& list, std::size_t index, std::string_view text,
                                       const std::string& ns, const std::string& origin) {
  NetworkSelection selection{.ns = ns, .origin = origin + ", element " + std::to_string(index + 1)};
  const std::string step = std::to_string(index);
  if (!list[index].is_object()) {
    return fail(Code::kInvalidConfig, selection.origin + " is " + to_text(list[index]) + " at " +
                                          position_of(text, {step}) + ", expected an object");
  }
  ElementReader reader(list[index], selection);
  const auto read = reader.read();
  if (read) return selection;
  return fail(read.error().code,
              selection.origin + ": " + read.error().message + " (at " +
                  position_of(text, {step, reader.bad_key()}) + ")",
              read.error().details);
}

bool is_json_form(std::string_view text) {
  return text.find_first_of("[{\"") != std::string_view::npos;
}

Result<std::vector<NetworkSelection>> parse_json_form(std::string_view text, const std::string& ns,
                                                      const std::string& origin) {
  VMLANE_ASSIGN(Json list, parse_json(text, origin));
  if (!list.is_array()) {
    return fail(Code::kInvalidConfig, origin + " is no JSON list", "expected [{\"name\": ...}, ...]");
  }
  std::vector<NetworkSelection> selections;
  for (std::size_t i = 0; i < list.size(); i++) {
    VMLANE_ASSIGN(NetworkSelection selection, parse_element(list, i, text, ns, origin));
    selections.push_back(std::move(selection));
  }
  return selections;
}

Result<std::vector<NetworkSelection>> parse_short_form(std::string_view text, const std::string& ns,
                                                       const std::string& origin) {
  std::vector<NetworkSelection> selections;
  while (true) {
    const auto comma = text.find(',');
    const std::string place = origin + ", element " + std::to_string(selections.size() + 1);
    VMLANE_ASSIGN(NetworkSelection selection, parse_short(text.substr(0, comma), ns, place));
    selections.push_back(std::move(selection));
    if (comma == std::string_view::npos) return selections;
    text.remove_prefix(comma + 1);
  }
}

// Names the interfaces that have none and checks what concerns several elements.
Result<> settle(std::vector<NetworkSelection>& selections, const std::string& origin,
                std::size_t first_index) {
  std::map<std::string, std::size_t> taken;
  const NetworkSelection* routed = nullptr;
  for (std::size_t i = 0; i < selections.size(); i++) {
    NetworkSelection& selection = selections[i];
    if (selection.ifname.empty()) selection.ifname = "net" + std::to_string(first_index + i);
    const auto [other, added] = taken.emplace(selection.ifname, i + 1);
    if (!added) {
      return fail(Code::kInvalidConfig,
                  origin + ": elements " + std::to_string(other->second) + " and " + std::to_string(i + 1) +
                      " both get interface \"" + selection.ifname + "\"",
                  "an element without \"interface\" gets net<its position>");
    }
    if (selection.default_route.empty()) continue;
    if (routed != nullptr) {
      return fail(
          Code::kInvalidConfig,
          origin + ": both \"" + routed->id() + "\" and \"" + selection.id() + "\" have \"default-route\"",
          "only one network of a pod may have it");
    }
    routed = &selection;
  }
  return {};
}

}  // namespace

Result<std::vector<NetworkSelection>> parse_networks_annotation(std::string_view text,
                                                                const std::string& pod_ns,
                                                                const std::string& origin,
                                                                std::size_t first_index) {
  if (trimmed(text).empty()) return std::vector<NetworkSelection>();
  VMLANE_ASSIGN(auto selections, is_json_form(text) ? parse_json_form(text, pod_ns, origin)
                                                    : parse_short_form(text, pod_ns, origin));
  VMLANE_TRY(settle(selections, origin, first_index));
  return selections;
}

Result<NetworkSelection> parse_default_network(std::string_view text, const std::string& multus_ns,
                                               const std::string& origin) {
  VMLANE_ASSIGN(auto selections, is_json_form(text) ? parse_json_form(text, multus_ns, origin)
                                                    : parse_short_form(text, multus_ns, origin));
  if (selections.size() == 1) return std::move(selections.front());
  return fail(Code::kInvalidConfig,
              origin + " names " + std::to_string(selections.size()) + " networks, expected one");
}

Result<NetworkSelection> parse_network_name(std::string_view text, const std::string& default_ns,
                                            const std::string& origin) {
  VMLANE_ASSIGN(NetworkSelection selection, parse_short(text, default_ns, origin));
  if (selection.ifname.empty()) return selection;
  return fail(Code::kInvalidConfig, origin + ": \"" + std::string(text) + "\" has an interface name",
              "expected [namespace/]name");
}

}  // namespace vmlane::multus
