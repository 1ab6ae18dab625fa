// SPDX-License-Identifier: Apache-2.0
#include "cloud-init/seed.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <sstream>

#include "cni/result.h"
#include "core/address.h"
#include "core/hash.h"
#include "core/names.h"
#include "manifests/yaml.h"

namespace vmlane::cloud_init {
namespace {

using cni::CniResult;
using cni::ResultRoute;

constexpr std::size_t kMaxLabel = 63;
constexpr std::size_t kMaxHostname = 253;
constexpr std::size_t kIdentityDigits = 32;

std::string subject_of(const AttachmentRecord& record) {
  return "attachment " + record.key.id() + " (" + record.key.ifname + ")";
}

std::unexpected<Error> refused(const AttachmentRecord& record, const std::string& problem) {
  return fail(Code::kInvalidConfig, subject_of(record) + ": " + problem);
}

std::optional<IpAddress> gateway_of(const ResultRoute& route, const CniResult& result) {
  if (route.gateway) return route.gateway;
  for (const auto& ip : result.ips) {
    if (ip.gateway && ip.gateway->v6 == route.destination.address.v6) return ip.gateway;
  }
  return std::nullopt;
}

// Whether the NIC reaches the gateway by its own addresses; every NIC has a link-local one.
bool reaches(const CniResult& result, const IpAddress& gateway) {
  constexpr IpPrefix kLinkLocal{.address = {.v6 = true, .bytes = {0xfe, 0x80}}, .length = 10};
  return kLinkLocal.contains(gateway) ||
         std::ranges::any_of(result.ips, [&](const auto& ip) { return ip.address.contains(gateway); });
}

Result<Json> route_config(const AttachmentRecord& record, const ResultRoute& route, const CniResult& result) {
  // cloud-init's converters don't know netplan's word "default".
  Json config = {{"to", route.destination.network().to_string()}};
  const auto gateway = gateway_of(route, result);
  if (!gateway) {
    config["scope"] = "link";
  } else if (gateway->v6 != route.destination.address.v6) {
    return refused(record, "result.routes: cloud-init has no route to " + route.destination.to_string() +
                               " by a gateway of the other family, " + gateway->to_string());
  } else {
    config["via"] = gateway->to_string();
    if (!reaches(result, *gateway)) config["on-link"] = true;
  }
  if (route.priority) config["metric"] = *route.priority;
  if (route.mtu.value_or(0) != 0) config["mtu"] = *route.mtu;
  if (route.table.value_or(0) != 0) config["table"] = *route.table;
  return config;
}

// Whether "gateway6" tells the whole route. Renderers take it with an address of its family only.
bool is_plain_default6(const ResultRoute& route, const CniResult& result) {
  const auto gateway = gateway_of(route, result);
  return route.destination.address.v6 && route.destination.length == 0 && gateway && gateway->v6 &&
         reaches(result, *gateway) && !route.priority && route.mtu.value_or(0) == 0 &&
         route.table.value_or(0) == 0 &&
         std::ranges::any_of(result.ips, [](const auto& ip) { return ip.address.address.v6; });
}

Result<> add_routes(const AttachmentRecord& record, const CniResult& result, bool gateway6, Json& config) {
  for (const ResultRoute& route : result.routes) {
    if (gateway6 && is_plain_default6(route, result) && !config.contains("gateway6")) {
      config["gateway6"] = gateway_of(route, result)->to_string();
      continue;
    }
    VMLANE_ASSIGN(Json entry, route_config(record, route, result));
    config["routes"].push_back(std::move(entry));
  }
  return {};
}

Result<Json> name_server_config(const AttachmentRecord& record, const cni::ResultDns& dns) {
  Json config = Json::object();
  for (const std::string& server : dns.nameservers) {
    if (!IpAddress::parse(server))
      return refused(record, "result.dns.nameservers has \"" + server + "\", expected IP addresses");
    config["addresses"].push_back(server);
  }
  std::vector<std::string> search = dns.search;
  if (!dns.domain.empty() && std::ranges::find(search, dns.domain) == search.end())
    search.insert(search.begin(), dns.domain);
  if (!search.empty()) config["search"] = search;
  return config;
}

Result<Json> nic_config(const AttachmentRecord& record, const MacAddress& mac, const SeedOptions& options) {
  auto read = CniResult::from_json(record.result.is_null() ? Json::object() : record.result,
                                   cni::kNewestVersion, "result");
  if (!read) return fail(read.error().wrap(subject_of(record) + " cannot be used"));
  const CniResult& result = *read;
  const bool dynamic = result.ips.empty();
  Json config = {{"match", {{"macaddress", mac.to_string()}}}, {"dhcp4", dynamic}, {"dhcp6", dynamic}};
  if (options.set_names) config["set-name"] = record.key.ifname;
  if (dynamic) config["accept-ra"] = true;
  if (record.mtu.value_or(0) != 0) config["mtu"] = *record.mtu;
  for (const auto& ip : result.ips) config["addresses"].push_back(ip.address.to_string());
  VMLANE_TRY(add_routes(record, result, options.gateway6, config));
  VMLANE_ASSIGN(Json servers, name_server_config(record, result.dns));
  if (!servers.empty()) config["nameservers"] = std::move(servers);
  return config;
}

bool is_hostname(std::string_view name) {
  const auto alphanumeric = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; };
  if (name.empty() || name.size() > kMaxHostname) return false;
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::string_view label = name.substr(begin, name.find('.', begin) - begin);
    if (label.empty() || label.size() > kMaxLabel || !alphanumeric(label.front()) ||
        !alphanumeric(label.back())) {
      return false;
    }
    if (!std::ranges::all_of(label, [&](char c) { return alphanumeric(c) || c == '-'; })) return false;
    begin += label.size() + 1;
  }
  return true;
}

// The first label of a name that Kubernetes allows, as far as a host's name may be long.
std::string first_label(const std::string& name) {
  std::string label = name.substr(0, std::min(name.find('.'), kMaxLabel));
  while (label.ends_with('-')) label.pop_back();
  return label;
}

// The first that anybody said anything about.
PodIdentity pod_of(const std::vector<AttachmentRecord>& nics) {
  for (const AttachmentRecord& record : nics) {
    if (!record.pod.name.empty()) return record.pod;
  }
  return {};
}

std::string instance_id(const PodIdentity& pod, const std::string& container_id) {
  std::string identity = pod.workload();
  // A pod of the same name is another one; a VM is the same wherever it runs.
  if (pod.vm.empty()) identity += "\n" + (pod.uid.empty() ? container_id : pod.uid);
  return "vmlane-" + sha256_hex(identity).substr(0, kIdentityDigits);
}

// A line of authorized_keys: options, if any, then the key's type and the key.
bool is_public_key(const std::string& line) {
  std::istringstream words(line);
  std::string previous;
  for (std::string word; words >> word; previous = word) {
    const bool type = previous.starts_with("ssh-") || previous.starts_with("ecdsa-sha2-") ||
                      previous.starts_with("sk-ssh-") || previous.starts_with("sk-ecdsa-");
    if (type && word.starts_with("AAAA")) return true;
  }
  return false;
}

}  // namespace

Result<Json> network_config(const std::vector<AttachmentRecord>& nics, const SeedOptions& options) {
  Json ethernets = Json::object();
  std::map<MacAddress, const AttachmentRecord*> macs;
  for (const AttachmentRecord& record : nics) {
    VMLANE_TRY(
        names::check_link_name(record.key.ifname, subject_of(record) + ": ifname", Code::kInvalidConfig));
    if (!record.mac) return refused(record, "it has no MAC in its record, and no other name for the guest");
    VMLANE_ASSIGN(const MacAddress mac,
                  MacAddress::parse_usable(*record.mac, subject_of(record) + ": mac", Code::kInvalidConfig));
    const auto [other, first] = macs.emplace(mac, &record);
    if (!first) {
      return fail(Code::kConflict, subject_of(*other->second) + " and " + subject_of(record) +
                                       " both have MAC " + mac.to_string() +
                                       ", by which the guest is to tell them apart");
    }
    if (ethernets.contains(record.key.ifname))
      return fail(Code::kConflict, "more than one attachment is " + record.key.ifname + ", the second is " +
                                       subject_of(record));
    VMLANE_ASSIGN(ethernets[record.key.ifname], nic_config(record, mac, options));
  }
  return Json{{"version", 2}, {"ethernets", std::move(ethernets)}};
}

Result<Json> meta_data(const std::vector<AttachmentRecord>& nics, const SeedOptions& options) {
  const PodIdentity pod = pod_of(nics);
  Json meta = {{"instance-id", options.instance_id}};
  if (options.instance_id.empty())
    meta["instance-id"] = instance_id(pod, nics.empty() ? "" : nics.front().key.container_id);
  else
    VMLANE_TRY(names::check_identifier(options.instance_id, "--instance-id", Code::kInvalidConfig));
  const std::string hostname =
      options.hostname.empty() ? first_label(pod.vm.empty() ? pod.name : pod.vm) : options.hostname;
  if (hostname.empty()) return meta;  // nobody said who the VM is; it keeps the name that its image has
  if (!is_hostname(hostname)) {
    return fail(Code::kInvalidConfig,
                (options.hostname.empty() ? "the VM's name" : "--hostname") + std::string(" is \"") +
                    hostname + "\", expected letters, digits and '-' in labels of at most 63 characters",
                options.hostname.empty() ? "give it another with --hostname" : "");
  }
  meta["local-hostname"] = hostname;
  return meta;
}

Result<Seed> make_seed(const std::vector<AttachmentRecord>& nics, const SeedOptions& options) {
  Seed data;
  VMLANE_ASSIGN(const Json meta, meta_data(nics, options));
  if (options.network_config) {
    data.network_config = *options.network_config;
  } else {
    VMLANE_ASSIGN(const Json network, network_config(nics, options));
    data.network_config = to_yaml(network);
  }
  data.meta_data = to_yaml(meta);
  Json config = Json::object();
  if (!options.ssh_keys.empty()) config["ssh_authorized_keys"] = options.ssh_keys;
  data.user_data = options.user_data ? *options.user_data : "#cloud-config\n" + to_yaml(config);
  return data;
}

Result<> check_user_data(std::string_view text, const std::string& what) {
  // Whole words.
  constexpr std::array<std::string_view, 8> kHeaders = {
      "#cloud-config", "#cloud-config-archive", "#cloud-config-jsonp", "#cloud-boothook",
      "#include",      "#include-once",         "#part-handler",       "## template: jinja"};
  // A script, parts, and both compressed.
  constexpr std::array<std::string_view, 4> kBeginnings = {"#!",
                                                           "Content-Type:", "MIME-Version:", "\x1f\x8b"};
  const auto begins_with_word = [&](std::string_view word) {
    return text.starts_with(word) &&
           (text.size() == word.size() || std::isspace(static_cast<unsigned char>(text[word.size()])) != 0);
  };
  if (std::ranges::any_of(kHeaders, begins_with_word)) return {};
  if (std::ranges::any_of(kBeginnings, [&](std::string_view begin) { return text.starts_with(begin); }))
    return {};
  return fail(Code::kInvalidConfig, what + " does not begin as user-data does, cloud-init would ignore it",
              "its first line is to be #cloud-config, #!, #include, #cloud-boothook or another header that "
              "cloud-init knows");
}

Result<std::vector<std::string>> parse_ssh_keys(std::string_view text, const std::string& what) {
  std::vector<std::string> keys;
  std::istringstream lines{std::string(text)};
  std::size_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    number++;
    const auto begin = line.find_first_not_of(" \t\r");
    if (begin == std::string::npos || line[begin] == '#') continue;
    line = line.substr(begin, line.find_last_not_of(" \t\r") + 1 - begin);
    // The line itself is not shown: it may be of a private key.
    if (!is_public_key(line))
      return fail(Code::kInvalidConfig, what + ", line " + std::to_string(number) + ", is no SSH public key",
                  line.find("PRIVATE KEY") == std::string::npos ? "" : "give the .pub file beside it");
    keys.push_back(std::move(line));
  }
  if (keys.empty()) return fail(Code::kInvalidConfig, what + " has no SSH public key");
  return keys;
}

}  // namespace vmlane::cloud_init
