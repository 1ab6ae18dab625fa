// SPDX-License-Identifier: Apache-2.0
#include "agent/join.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "ebpf/workload.h"
#include "multus-adapter/network_selection.h"
#include "policy/objects.h"

namespace vmlane::agent {
namespace {

constexpr std::string_view kDefaultInterface = "eth0";  // what every runtime calls it

// What the pod's annotations say about one of its interfaces.
struct Annotated {
  bool is_default = false;
  std::string status;     // network by network-status
  std::string selection;  // network by the networks annotation
};

std::string annotation(const multus::Pod& pod, std::string_view key) {
  const auto found = pod.annotations.find(std::string(key));
  return found == pod.annotations.end() ? std::string() : found->second;
}

std::optional<Json> status_of(const multus::Pod& pod, const std::string& ifname) {
  const auto list = parse_json(annotation(pod, multus::kNetworkStatusAnnotation), "network-status");
  if (!list || !list->is_array()) return std::nullopt;
  for (const Json& entry : *list) {
    if (entry.is_object() && text_at(entry, "interface") == ifname) return entry;
  }
  return std::nullopt;
}

Annotated annotated(const multus::Pod& pod, const std::string& ifname) {
  Annotated result;
  const auto selections = multus::parse_networks_annotation(annotation(pod, multus::kNetworksAnnotation),
                                                            pod.ns, "pod " + pod.id());
  if (selections) {
    const auto found = std::ranges::find(*selections, ifname, &multus::NetworkSelection::ifname);
    if (found != selections->end()) result.selection = found->id();
  }
  if (const auto status = status_of(pod, ifname)) {
    const auto is_default = status->find("default");
    result.is_default = is_default != status->end() && *is_default == true;
    result.status = text_at(*status, "name");
    if (!result.status.empty() && result.status.find('/') == std::string::npos)
      result.status = pod.ns + "/" + result.status;
  } else {
    result.is_default = ifname == kDefaultInterface && result.selection.empty();
  }
  return result;
}

std::string network_of(const AttachmentRecord& record, const multus::Pod& pod) {
  const Annotated said = annotated(pod, record.key.ifname);
  if (said.is_default) return std::string(policy::kDefaultNetwork);
  if (!record.nad.empty()) return record.nad;
  return said.status.empty() ? said.selection : said.status;
}

std::vector<IpAddress> given_addresses(const AttachmentRecord& record) {
  std::vector<IpAddress> addresses;
  if (!record.result.is_object()) return addresses;
  const auto ips = record.result.find("ips");
  if (ips == record.result.end() || !ips->is_array()) return addresses;
  for (const Json& ip : *ips) {
    const auto prefix = IpPrefix::parse(ip.is_object() ? text_at(ip, "address") : std::string());
    if (prefix) addresses.push_back(prefix->address);
  }
  return addresses;
}

std::vector<IpAddress> addresses_of(const Attachment& attachment) {
  std::vector<IpAddress> addresses = given_addresses(*attachment.record);
  addresses.insert(addresses.end(), attachment.learned.begin(), attachment.learned.end());
  return addresses;
}

// Appends the texts that a list of strings, or of objects with one at `key`, does not have.
void append_missing(Json& list, const std::vector<IpAddress>& addresses, const char* key) {
  for (const IpAddress& address : addresses) {
    const bool there = std::ranges::any_of(list, [&](const Json& item) {
      const Json& text = key != nullptr && item.is_object() && item.contains(key) ? item[key] : item;
      const auto known = IpAddress::parse(text.is_string() ? text.get<std::string>() : std::string());
      return known && *known == address;
    });
    if (there) continue;
    if (key == nullptr)
      list.push_back(address.to_string());
    else
      list.push_back({{key, address.to_string()}});
  }
}

// The value at `key`, made if it is not there; nullptr when something of another type is.
Json* child(Json& object, const char* key, const Json& fallback) {
  Json& value = object[key];
  if (value.is_null()) value = fallback;
  return value.type() == fallback.type() ? &value : nullptr;
}

// What policy reads of a secondary network: an entry of network-status.
void complete_status(Json& pod, const Attachment& attachment) {
  Json* metadata = child(pod, "metadata", Json::object());
  Json* annotations = metadata == nullptr ? nullptr : child(*metadata, "annotations", Json::object());
  if (annotations == nullptr) return;
  Json& text = (*annotations)[std::string(multus::kNetworkStatusAnnotation)];
  if (text.is_null()) text = "";
  if (!text.is_string()) return;
  const auto& written = text.get_ref<const std::string&>();
  auto list = parse_json(written.empty() ? "[]" : written, "network-status");
  if (!list || !list->is_array()) return;  // policy reports it
  const std::string& ifname = attachment.record->key.ifname;
  auto entry = std::ranges::find_if(
      *list, [&](const Json& item) { return item.is_object() && text_at(item, "interface") == ifname; });
  if (entry == list->end()) {
    list->push_back({{"name", attachment.network}, {"interface", ifname}});
    entry = std::prev(list->end());
  }
  Json* ips = child(*entry, "ips", Json::array());
  if (ips != nullptr) append_missing(*ips, addresses_of(attachment), nullptr);
  text = to_text(*list);
}

void complete_pod(Json& pod, const Attachment& attachment, const std::string& node) {
  Json* spec = child(pod, "spec", Json::object());
  if (spec != nullptr && text_at(*spec, "nodeName").empty()) (*spec)["nodeName"] = node;
  if (attachment.record->state != RecordState::kDone) return;
  if (attachment.network != policy::kDefaultNetwork) return complete_status(pod, attachment);
  Json* status = child(pod, "status", Json::object());
  Json* ips = status == nullptr ? nullptr : child(*status, "podIPs", Json::array());
  if (ips != nullptr) append_missing(*ips, addresses_of(attachment), "ip");
}

Json complete_node(Json node, const std::string& name, const std::vector<IpAddress>& addresses) {
  if (!node.is_object()) node = {{"apiVersion", "v1"}, {"kind", "Node"}, {"metadata", {{"name", name}}}};
  Json* status = child(node, "status", Json::object());
  Json* list = status == nullptr ? nullptr : child(*status, "addresses", Json::array());
  if (list == nullptr) return node;
  const std::size_t given = list->size();
  append_missing(*list, addresses, "address");
  for (std::size_t i = given; i < list->size(); i++) (*list)[i]["type"] = "InternalIP";
  return node;
}

std::optional<IpAddress> address_of(const ifaddrs& entry) {
  constexpr std::uint8_t kLoopbackNet = 127;
  if (entry.ifa_addr == nullptr) return std::nullopt;
  IpAddress address;
  if (entry.ifa_addr->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(entry.ifa_addr);
    std::copy_n(reinterpret_cast<const std::uint8_t*>(&v4->sin_addr), sizeof(in_addr), address.bytes.begin());
    // Others may be on the loopback link, from where a node announces them.
    if (address.bytes[0] == kLoopbackNet) return std::nullopt;
    return address;
  }
  if (entry.ifa_addr->sa_family != AF_INET6) return std::nullopt;
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(entry.ifa_addr);
  if (IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr) || IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr)) return std::nullopt;
  address.v6 = true;
  std::copy_n(reinterpret_cast<const std::uint8_t*>(&v6->sin6_addr), sizeof(in6_addr), address.bytes.begin());
  return address;
}

}  // namespace

Attachment join(const AttachmentRecord& record, const Cluster& cluster) {
  Attachment attachment{.record = &record};
  if (record.pod.name.empty()) {
    attachment.missing = "CNI_ARGS named no pod";
    return attachment;
  }
  const multus::Pod* pod = cluster.find_pod(record.pod.ns, record.pod.name, record.pod.uid);
  if (pod == nullptr) {
    attachment.missing = "no object of pod " + record.pod.ns + "/" + record.pod.name +
                         (record.pod.uid.empty() ? "" : " with uid " + record.pod.uid);
    return attachment;
  }
  attachment.pod = pod->id();
  attachment.network = network_of(record, *pod);
  if (attachment.network.empty())
    attachment.missing =
        "neither the record nor the pod's annotations name the network of " + record.key.ifname;
  return attachment;
}

ObjectPointer completed_pod(const ObjectPointer& pod, const std::vector<const Attachment*>& attachments,
                            const std::string& node) {
  Json json = pod->json();
  for (const Attachment* attachment : attachments) complete_pod(json, *attachment, node);
  return cluster_object(std::move(json), pod->place);
}

ObjectPointer completed_node(const ObjectPointer& object, const std::string& node,
                             const std::vector<IpAddress>& addresses) {
  return cluster_object(complete_node(object ? object->json() : Json(), node, addresses),
                        object ? object->place : "the agent's own node");
}

std::vector<IpAddress> learned_addresses(const AttachmentRecord& record) {
  const bool asks = record.state == RecordState::kDone && record.handles.is_object() &&
                    record.handles.contains("workload") && given_addresses(record).empty();
  const auto handle = asks ? ebpf::WorkloadHandle::from_json(record.handles["workload"]) : std::nullopt;
  const auto status = handle ? ebpf::workload_status(*handle, record.key.id()) : std::nullopt;
  std::vector<IpAddress> addresses;
  if (!status) return addresses;
  for (const ebpf::LearnedAddress& learned : status->learned) addresses.push_back(learned.address);
  std::ranges::sort(addresses);
  return addresses;
}

std::vector<IpAddress> own_addresses() {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return {};
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(list, &::freeifaddrs);
  std::vector<IpAddress> addresses;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (const auto address = address_of(*entry)) addresses.push_back(*address);
  }
  std::ranges::sort(addresses);
  const auto duplicates = std::ranges::unique(addresses);
  addresses.erase(duplicates.begin(), duplicates.end());
  return addresses;
}

}  // namespace vmlane::agent
