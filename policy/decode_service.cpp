// SPDX-License-Identifier: Apache-2.0
// Services and EndpointSlices: what a node translates, and to what. Only that is read of them, so a key that
// is not known here is none of policy's business.
#include <algorithm>

#include "policy/decode.h"

namespace vmlane::policy {
namespace {

constexpr const char* kServiceLabel = "kubernetes.io/service-name";
constexpr const char* kPartEffect = "connections to it are judged as to any other address";
constexpr const char* kSliceEffect = "no connection to its Service is let out where egress is judged";

std::string string_at(const Json& object, std::string_view key) {
  const Json* found = member(object, key);
  return found != nullptr && found->is_string() ? found->get<std::string>() : std::string();
}

// A port number at `key`; 0 for what is none.
std::uint16_t port_at(const Json& object, std::string_view key) {
  const Json* found = member(object, key);
  if (found == nullptr || !found->is_number_integer()) return 0;
  const auto number = found->get<std::int64_t>();
  return number < 1 || number > kMaxPort ? std::uint16_t{0} : static_cast<std::uint16_t>(number);
}

std::optional<std::uint8_t> protocol_of(const Json& port) {
  const Json* given = member(port, "protocol");
  if (given == nullptr) return kTcp;
  return given->is_string() ? decode_protocol(given->get<std::string>()) : std::nullopt;
}

class ServiceReader {
 public:
  explicit ServiceReader(const Subject& subject) : subject_(subject) {}

  Service read(const Json& object) {
    static const Json nothing;
    const Json* given = member(object, "spec");
    const Json& spec = given == nullptr ? nothing : *given;
    if (given != nullptr && !given->is_object())
      subject_.report("spec", Subject::wrong(*given, "an object"), kPartEffect);
    given = member(object, "status");
    read_addresses(spec, given == nullptr ? nothing : *given);
    if (string_at(spec, "type") == "ExternalName") addresses_.clear();
    const Json* ports = member(spec, "ports");
    if (ports != nullptr && !ports->is_array()) {
      subject_.report("spec.ports", Subject::wrong(*ports, "a list"), kPartEffect);
      ports = nullptr;
    }
    for (std::size_t i = 0; ports != nullptr && i < ports->size(); i++)
      read_port((*ports)[i], at("spec.ports", i));
    auto& frontends = service_.frontends;
    std::ranges::sort(frontends);
    const auto repeated = std::ranges::unique(frontends);
    frontends.erase(repeated.begin(), repeated.end());
    service_.ns = subject_.ns;
    service_.name = subject_.name;
    return std::move(service_);
  }

 private:
  void add_address(const Json& json, const std::string& key) {
    const std::string text = json.is_string() ? json.get<std::string>() : std::string("?");
    // "None" is a Service without an address of its own: clients are told those of the endpoints.
    if (text.empty() || text == "None") return;
    const auto address = IpAddress::parse(text);
    if (!address) return subject_.report(key, Subject::wrong(json, "an IP address"), kPartEffect);
    addresses_.push_back(*address);
  }

  void add_list(const Json* list, const std::string& key) {
    if (list == nullptr) return;
    if (!list->is_array()) return subject_.report(key, Subject::wrong(*list, "a list"), kPartEffect);
    for (std::size_t i = 0; i < list->size(); i++) add_address((*list)[i], at(key, i));
  }

  void read_addresses(const Json& spec, const Json& status) {
    if (const Json* one = member(spec, "clusterIP")) add_address(*one, "spec.clusterIP");
    add_list(member(spec, "clusterIPs"), "spec.clusterIPs");
    // Every Service with a node port has an address of each family that it is for.
    for (const IpAddress& address : addresses_) (address.v6 ? v6_ : v4_) = true;
    add_list(member(spec, "externalIPs"), "spec.externalIPs");
    const Json* balancer = member(status, "loadBalancer");
    const Json* ingress = balancer == nullptr ? nullptr : member(*balancer, "ingress");
    for (std::size_t i = 0; ingress != nullptr && ingress->is_array() && i < ingress->size(); i++) {
      const Json* ip = member((*ingress)[i], "ip");
      // A node sends what is for a proxy to the proxy.
      if (ip != nullptr && string_at((*ingress)[i], "ipMode") != "Proxy")
        add_address(*ip, at("status.loadBalancer.ingress", i) + ".ip");
    }
  }

  void read_port(const Json& json, const std::string& key) {
    const auto protocol = protocol_of(json);
    const std::uint16_t port = port_at(json, "port");
    if (!json.is_object() || !protocol || port == 0)
      return subject_.report(key, Subject::wrong(json, "a port with a number and TCP, UDP or SCTP"),
                             kPartEffect);
    const std::string name = string_at(json, "name");
    for (const IpAddress& address : addresses_)
      service_.frontends.push_back({false, address, *protocol, port, name});
    const std::uint16_t node_port = port_at(json, "nodePort");
    if (node_port == 0) return;
    for (const bool v6 : {false, true}) {
      if (!(v6 ? v6_ : v4_)) continue;
      IpAddress any;
      any.v6 = v6;
      service_.frontends.push_back({true, any, *protocol, node_port, name});
    }
  }

  const Subject& subject_;
  Service service_;
  std::vector<IpAddress> addresses_;
  bool v4_ = false;
  bool v6_ = false;
};

class SliceReader {
 public:
  explicit SliceReader(const Subject& subject) : subject_(subject) {}

  EndpointSlice read(const Json& object) {
    slice_.ns = subject_.ns;
    slice_.name = subject_.name;
    slice_.broken = !subject_.named;
    const Json* metadata = member(object, "metadata");
    const Json* labels = metadata == nullptr ? nullptr : member(*metadata, "labels");
    if (labels != nullptr) slice_.service = string_at(*labels, kServiceLabel);
    const std::string type = string_at(object, "addressType");
    slice_.v6 = type == "IPv6";
    if (type == "FQDN") return std::move(slice_);
    if (type != "IPv4" && type != "IPv6") broken("addressType", "is no address family");
    const Json* endpoints = list_at(object, "endpoints");
    for (std::size_t i = 0; endpoints != nullptr && i < endpoints->size(); i++)
      read_endpoint((*endpoints)[i], at("endpoints", i));
    const Json* ports = list_at(object, "ports");
    for (std::size_t i = 0; ports != nullptr && i < ports->size(); i++)
      read_port((*ports)[i], at("ports", i));
    return std::move(slice_);
  }

 private:
  void broken(const std::string& key, const std::string& reason) {
    subject_.report(key, reason, kSliceEffect);
    slice_.broken = true;
  }

  const Json* list_at(const Json& object, const std::string& key) {
    const Json* list = member(object, key);
    if (list == nullptr || list->is_array()) return list;
    broken(key, Subject::wrong(*list, "a list"));
    return nullptr;
  }

  // Nodes send nothing to one that does not serve, which an ending one may still do.
  bool serves(const Json& endpoint, const std::string& key) {
    const Json* conditions = member(endpoint, "conditions");
    if (conditions == nullptr) return true;
    bool ready = true;
    for (const char* name : {"ready", "serving"}) {
      const Json* condition = member(*conditions, name);
      if (condition == nullptr) continue;
      if (!condition->is_boolean()) {
        broken(key + ".conditions." + name, Subject::wrong(*condition, "true or false"));
        return true;
      }
      if (*condition == true) return true;
      ready = false;
    }
    return ready;
  }

  void read_endpoint(const Json& json, const std::string& key) {
    if (!serves(json, key)) return;
    const Json* addresses = member(json, "addresses");
    if (addresses == nullptr || !addresses->is_array() || addresses->empty())
      return broken(key + ".addresses", "is no list of addresses");
    for (const Json& one : *addresses) {
      const auto address = IpAddress::parse(one.is_string() ? one.get<std::string>() : std::string());
      if (!address || address->v6 != slice_.v6)
        return broken(key + ".addresses", Subject::wrong(one, "an address of the addressType"));
      slice_.addresses.push_back(*address);
    }
  }

  void read_port(const Json& json, const std::string& key) {
    // Without a number it is for all ports; nodes translate to no such thing.
    if (json.is_object() && member(json, "port") == nullptr) return;
    const auto protocol = protocol_of(json);
    const std::uint16_t port = port_at(json, "port");
    if (!protocol || port == 0)
      return broken(key, Subject::wrong(json, "a port with a number and TCP, UDP or SCTP"));
    slice_.ports.push_back({string_at(json, "name"), *protocol, port});
  }

  const Subject& subject_;
  EndpointSlice slice_;
};

}  // namespace

Service decode_service(const Json& object, const Subject& subject) {
  return ServiceReader(subject).read(object);
}

EndpointSlice decode_endpoint_slice(const Json& object, const Subject& subject) {
  return SliceReader(subject).read(object);
}

}  // namespace vmlane::policy
