// SPDX-License-Identifier: Apache-2.0
#include "multus-adapter/pod_files.h"

#include <algorithm>

#include "cni/result.h"
#include "core/files.h"
#include "core/names.h"

namespace vmlane::multus {
namespace {

namespace fs = std::filesystem;

constexpr int kFactsSchema = 1;

// A result that a route of has no gateway of its own goes through the gateway of the address of its family.
std::string gateway_of(const cni::ResultRoute& route, const cni::CniResult& result) {
  if (route.gateway) return route.gateway->to_string();
  for (const cni::ResultIp& ip : result.ips) {
    if (ip.gateway && ip.gateway->v6 == route.destination.address.v6) return ip.gateway->to_string();
  }
  return {};
}

Json default_gateways(const cni::CniResult& result) {
  Json gateways = Json::array();
  for (const cni::ResultRoute& route : result.routes) {
    if (route.destination.length != 0) continue;
    if (const std::string gateway = gateway_of(route, result); !gateway.empty()) gateways.push_back(gateway);
  }
  return gateways;
}

Result<Json> device_info(const std::string& file) {
  if (file.empty()) return Json();
  VMLANE_ASSIGN(const auto text, read_file(file));
  if (!text) return Json();
  return parse_json(*text, "device-info file " + file);
}

// What all entries of an attachment share.
Result<Json> common_entry(const AttachmentState& attachment, const cni::CniResult& result) {
  Json entry = {{"name", attachment.nad}, {"dns", result.dns.to_json()}};
  if (attachment.is_default) entry["default"] = true;
  const Json gateways = default_gateways(result);
  if (!gateways.empty()) entry["gateway"] = gateways;
  VMLANE_ASSIGN(const Json info, device_info(attachment.device_info_file));
  if (!info.is_null()) entry["device-info"] = info;
  return entry;
}

// The interfaces that get an entry. As the reference client: those in the sandbox; a lone one outside stands
// for itself.
std::vector<std::size_t> reported_interfaces(const cni::CniResult& result) {
  std::vector<std::size_t> reported;
  for (std::size_t i = 0; i < result.interfaces.size(); i++) {
    if (!result.interfaces[i].sandbox.empty()) reported.push_back(i);
  }
  if (reported.empty() && result.interfaces.size() == 1) reported.push_back(0);
  return reported;
}

Json interface_entry(Json entry, const cni::ResultInterface& interface) {
  if (interface.sandbox.empty()) return entry;
  entry["interface"] = interface.name;
  if (!interface.mac.empty()) entry["mac"] = interface.mac;
  if (interface.mtu) entry["mtu"] = *interface.mtu;
  return entry;
}

Result<> append_entries(const AttachmentState& attachment, Json& status) {
  VMLANE_ASSIGN(const cni::Version version, cni::Version::parse(attachment.cni_version));
  auto result = cni::CniResult::from_json(attachment.result, version, "result of network " + attachment.nad);
  if (!result) return fail(Code::kDelegate, result.error().message, result.error().details);
  VMLANE_ASSIGN(const Json common, common_entry(attachment, *result));
  const std::vector<std::size_t> reported = reported_interfaces(*result);
  const std::size_t first = status.size();
  for (const std::size_t index : reported)
    status.push_back(interface_entry(common, result->interfaces[index]));
  if (reported.empty()) return {};
  for (const cni::ResultIp& ip : result->ips) {
    // An address that names no interface, or one outside, belongs to the last.
    const auto place = std::ranges::find(reported, ip.interface.value_or(reported.back()));
    const std::size_t offset =
        place == reported.end() ? reported.size() - 1 : static_cast<std::size_t>(place - reported.begin());
    status[first + offset]["ips"].push_back(ip.address.address.to_string());
  }
  return {};
}

std::string value_or_empty(const StringMap& map, const std::string& key) {
  const auto it = map.find(key);
  return it == map.end() ? std::string() : it->second;
}

}  // namespace

Result<> write_pod_file(const NodeConfig& config, const fs::path& directory, const std::string& uid,
                        const Json& content) {
  VMLANE_TRY(names::check_identifier(uid, "pod uid", Code::kInvalidConfig));
  VMLANE_TRY(make_directory(directory, {.mode = 0750, .group = config.vmlane_gid}));
  return write_file_atomically(directory / (uid + ".json"), to_text(content) + "\n",
                               {.mode = 0640, .group = config.vmlane_gid});
}

Json pod_facts(const Pod& pod) {
  Json facts = {{"schema", kFactsSchema}, {"namespace", pod.ns},  {"name", pod.name},
                {"uid", pod.uid},         {"labels", pod.labels}, {"annotations", pod.annotations}};
  // KubeVirt's labels on a launcher pod, and on the target of a migration.
  if (const std::string vm = value_or_empty(pod.labels, "vm.kubevirt.io/name"); !vm.empty()) {
    facts["vm"] = {{"name", vm}, {"uid", value_or_empty(pod.labels, "kubevirt.io/created-by")}};
  }
  if (const std::string job = value_or_empty(pod.labels, "kubevirt.io/migrationJobUID"); !job.empty()) {
    facts["migration"] = {{"uid", job}, {"role", "target"}};
  }
  return facts;
}

Result<> write_pod_facts(const NodeConfig& config, const Pod& pod) {
  return write_pod_file(config, config.pods_dir(), pod.uid, pod_facts(pod));
}

Result<Json> network_status(const std::vector<AttachmentState>& attachments) {
  Json status = Json::array();
  for (const AttachmentState& attachment : attachments) VMLANE_TRY(append_entries(attachment, status));
  return status;
}

Result<> write_network_status(const NodeConfig& config, const std::string& pod_uid, const Json& status) {
  return write_pod_file(config, config.network_status_dir(), pod_uid, status);
}

Result<> remove_pod_files(const NodeConfig& config, const std::string& pod_uid) {
  VMLANE_TRY(names::check_identifier(pod_uid, "pod uid", Code::kInvalidConfig));
  std::vector<Error> errors;
  for (const fs::path& directory : {config.network_status_dir(), config.pods_dir()}) {
    auto removed = check_directory(directory);
    if (removed) removed = remove_file(directory / (pod_uid + ".json"));
    if (!removed) errors.push_back(removed.error());
  }
  return joined(errors, "removing the files of pod " + pod_uid);
}

}  // namespace vmlane::multus
