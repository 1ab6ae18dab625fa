// SPDX-License-Identifier: Apache-2.0
// Pods, namespaces and nodes: who is who, and with which addresses.
#include <algorithm>

#include "policy/decode.h"

namespace vmlane::policy {
namespace {

constexpr std::string_view kNetworkStatus = "k8s.v1.cni.cncf.io/network-status";
constexpr const char* kPodEffect = "the pod gets and sends nothing";

std::string text_of(const Json* json) {
  return json != nullptr && json->is_string() ? json->get<std::string>() : std::string();
}

class PodReader {
 public:
  explicit PodReader(const Subject& subject) : subject_(subject) {}

  Pod read(const Json& object) {
    pod_.ns = subject_.ns;
    pod_.name = subject_.name;
    pod_.broken = !subject_.named || !subject_.annotated;
    pod_.audit = decode_audit(subject_);
    static const Json nothing;
    const Json* given = member(object, "metadata");
    const Json& metadata = given == nullptr ? nothing : *given;
    auto labels = decode_labels(member(metadata, "labels"), "metadata.labels", subject_, kPodEffect);
    pod_.broken = pod_.broken || !labels;
    pod_.labels = std::move(labels).value_or(Labels());
    given = member(object, "spec");
    must_be_object(given, "spec");
    read_spec(given == nullptr ? nothing : *given);
    given = member(object, "status");
    must_be_object(given, "status");
    read_ended(metadata, given == nullptr ? nothing : *given);
    if (!pod_.ended) {
      read_addresses(given == nullptr ? nothing : *given);
      read_networks();
    }
    return std::move(pod_);
  }

 private:
  void broken(const std::string& key, const std::string& reason) {
    subject_.report(key, reason, kPodEffect);
    pod_.broken = true;
  }

  void must_be_object(const Json* json, const std::string& key) {
    if (json != nullptr && !json->is_object()) broken(key, Subject::wrong(*json, "an object"));
  }

  void must_be_text(const Json* json, const std::string& key) {
    if (json != nullptr && !json->is_string()) broken(key, Subject::wrong(*json, "a string"));
  }

  void read_spec(const Json& spec) {
    must_be_text(member(spec, "nodeName"), "spec.nodeName");
    pod_.node = text_of(member(spec, "nodeName"));
    const Json* host_network = member(spec, "hostNetwork");
    if (host_network != nullptr && !host_network->is_boolean())
      broken("spec.hostNetwork", Subject::wrong(*host_network, "true or false"));
    pod_.host_network = host_network != nullptr && *host_network == true;
    for (const char* list : {"containers", "initContainers"}) {
      const Json* containers = member(spec, list);
      if (containers == nullptr) continue;
      if (!containers->is_array()) {
        broken(std::string("spec.") + list, Subject::wrong(*containers, "a list"));
        continue;
      }
      for (std::size_t i = 0; i < containers->size(); i++) {
        const Json& container = (*containers)[i];
        // Of the init containers only those that stay, the sidecars, serve anybody.
        if (std::string_view(list) == "initContainers" &&
            text_of(member(container, "restartPolicy")) != "Always")
          continue;
        read_ports(member(container, "ports"),
                   std::string("spec.") + list + "[" + std::to_string(i) + "].ports");
      }
    }
  }

  void read_ports(const Json* ports, const std::string& key) {
    if (ports == nullptr) return;
    if (!ports->is_array()) return broken(key, Subject::wrong(*ports, "a list"));
    for (std::size_t i = 0; i < ports->size(); i++) {
      const Json& port = (*ports)[i];
      const std::string place = key + "[" + std::to_string(i) + "]";
      const Json* name = member(port, "name");
      const Json* number = member(port, "containerPort");
      const Json* protocol = member(port, "protocol");
      if (name == nullptr) continue;  // nobody can ask for it
      const auto read =
          protocol == nullptr ? std::optional<std::uint8_t>(kTcp) : decode_protocol(text_of(protocol));
      const bool valid = number != nullptr && number->is_number_integer() &&
                         number->get<std::int64_t>() >= 1 && number->get<std::int64_t>() <= kMaxPort;
      if (!name->is_string() || !read || !valid) {
        broken(place, Subject::wrong(port, "a port with name, containerPort and protocol"));
        continue;
      }
      pod_.ports.push_back({name->get<std::string>(), *read, number->get<std::uint16_t>()});
    }
  }

  // A pod that is being deleted still runs until its containers have ended.
  void read_ended(const Json& metadata, const Json& status) {
    must_be_text(member(status, "phase"), "status.phase");
    const std::string phase = text_of(member(status, "phase"));
    const Json* containers = member(status, "containerStatuses");
    const auto terminated = [](const Json& container) {
      const Json* state = member(container, "state");
      return state != nullptr && member(*state, "terminated") != nullptr;
    };
    const bool all_ended = containers != nullptr && containers->is_array() && !containers->empty() &&
                           std::ranges::all_of(*containers, terminated);
    pod_.ended = phase == "Succeeded" || phase == "Failed" ||
                 (member(metadata, "deletionTimestamp") != nullptr && all_ended);
  }

  void add_address(const Json& json, const std::string& key, PodInterface& interface) {
    const auto address = IpAddress::parse(json.is_string() ? json.get<std::string>() : std::string());
    if (!address) return broken(key, Subject::wrong(json, "an IP address"));
    if (std::ranges::find(interface.addresses, *address) == interface.addresses.end())
      interface.addresses.push_back(*address);
  }

  void read_addresses(const Json& status) {
    PodInterface own{.network = std::string(kDefaultNetwork), .addresses = {}};
    if (const Json* ip = member(status, "podIP"); ip != nullptr && *ip != Json(""))
      add_address(*ip, "status.podIP", own);
    const Json* ips = member(status, "podIPs");
    if (ips != nullptr && !ips->is_array()) broken("status.podIPs", Subject::wrong(*ips, "a list"));
    for (std::size_t i = 0; ips != nullptr && ips->is_array() && i < ips->size(); i++) {
      const Json* ip = member((*ips)[i], "ip");
      add_address(ip == nullptr ? Json() : *ip, "status.podIPs[" + std::to_string(i) + "].ip", own);
    }
    pod_.interfaces.push_back(std::move(own));
  }

  void read_networks() {
    const auto found = subject_.annotations.find(std::string(kNetworkStatus));
    if (found == subject_.annotations.end() || found->second.empty()) return;
    const std::string key = "metadata.annotations." + std::string(kNetworkStatus);
    const auto list = parse_json(found->second, "network-status");
    if (!list || !list->is_array()) return broken(key, "is no JSON list");
    for (std::size_t i = 0; i < list->size(); i++)
      read_network((*list)[i], key + "[" + std::to_string(i) + "]");
  }

  void read_network(const Json& json, const std::string& key) {
    std::string name = text_of(member(json, "name"));
    const Json* is_default = member(json, "default");
    const bool own = is_default != nullptr && *is_default == true;
    if (name.empty() && !own)
      return broken(key, Subject::wrong(json, "an object with the name of a network"));
    if (!own && name.find('/') == std::string::npos) name = subject_.ns + "/" + name;
    PodInterface interface {
      .network = own ? std::string(kDefaultNetwork) : name, .addresses = {}
    };
    const Json* ips = member(json, "ips");
    if (ips != nullptr && !ips->is_array()) return broken(key + ".ips", Subject::wrong(*ips, "a list"));
    for (std::size_t i = 0; ips != nullptr && i < ips->size(); i++)
      add_address((*ips)[i], key + ".ips[" + std::to_string(i) + "]", interface);
    if (!own) {
      pod_.interfaces.push_back(std::move(interface));
    } else if (pod_.interfaces[0].addresses.empty()) {
      pod_.interfaces[0] = std::move(interface);  // the API server's word comes first
    }
  }

  const Subject& subject_;
  Pod pod_;
};

}  // namespace

Pod decode_pod(const Json& object, const Subject& subject) {
  return PodReader(subject).read(object);
}

Namespace decode_namespace(const Json& object, const Subject& subject) {
  Namespace ns{.name = subject.name};
  const Json* metadata = member(object, "metadata");
  auto labels = decode_labels(metadata == nullptr ? nullptr : member(*metadata, "labels"), "metadata.labels",
                              subject, "the pods of the namespace get and send nothing");
  ns.broken = !labels;
  ns.labels = std::move(labels).value_or(Labels());
  ns.audit = decode_audit(subject).value_or(false);
  return ns;
}

Node decode_node(const Json& object, const Subject& subject) {
  Node node{.name = subject.name};
  const Json* metadata = member(object, "metadata");
  auto labels = decode_labels(metadata == nullptr ? nullptr : member(*metadata, "labels"), "metadata.labels",
                              subject, "no policy knows the node");
  if (!labels) return node;
  node.labels = std::move(*labels);
  const Json* status = member(object, "status");
  const Json* addresses = status == nullptr ? nullptr : member(*status, "addresses");
  if (addresses != nullptr && !addresses->is_array()) {
    subject.report("status.addresses", Subject::wrong(*addresses, "a list"), "no policy knows the node");
    return node;
  }
  for (std::size_t i = 0; addresses != nullptr && i < addresses->size(); i++) {
    const std::string type = text_of(member((*addresses)[i], "type"));
    if (type != "InternalIP" && type != "ExternalIP") continue;
    const auto address = IpAddress::parse(text_of(member((*addresses)[i], "address")));
    if (address) {
      node.addresses.push_back(*address);
    } else {
      subject.report("status.addresses[" + std::to_string(i) + "].address",
                     Subject::wrong((*addresses)[i], "an IP address"), "the address is left out");
    }
  }
  return node;
}

}  // namespace vmlane::policy
