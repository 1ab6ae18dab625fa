// SPDX-License-Identifier: Apache-2.0
#include "multus-adapter/ipam_check.h"

#include <optional>
#include <string>

#include "core/address.h"

namespace vmlane::multus {
namespace {

using Steps = std::vector<std::string>;

Steps operator/(Steps path, const std::string& step) {
  path.push_back(step);
  return path;
}
Steps operator/(const Steps& path, std::size_t index) {
  return path / std::to_string(index);
}

// Allocators take an empty text for no value.
bool is_unset(const Json& value) {
  return value.is_string() && value.get_ref<const std::string&>().empty();
}

// Reads addresses out of a config and notes those that are none.
class AddressReader {
 public:
  explicit AddressReader(std::vector<ConfigProblem>& problems) : problems_(problems) {}

  void wrong(const Steps& path, const std::string& message) {
    problems_.push_back({LintProblem::Severity::kError, path, message});
  }
  // The value of an optional key of type T (IpAddress or IpPrefix).
  template <class T>
  std::optional<T> read(const Json& object, const std::string& key, const Steps& path,
                        const std::string& expected) {
    const auto it = object.find(key);
    if (it == object.end() || it->is_null() || is_unset(*it)) return std::nullopt;
    if (it->is_string()) {
      if (const auto value = T::parse(it->template get_ref<const std::string&>())) return *value;
    }
    wrong(path / key, "key \"" + key + "\" is " + to_text(*it) + ", expected " + expected);
    return std::nullopt;
  }
  std::optional<IpAddress> address(const Json& object, const std::string& key, const Steps& path) {
    return read<IpAddress>(object, key, path, "an address such as 192.0.2.1 or 2001:db8::1");
  }
  std::optional<IpPrefix> prefix(const Json& object, const std::string& key, const Steps& path) {
    return read<IpPrefix>(object, key, path, "an address with a prefix length such as 192.0.2.0/24");
  }
  // The objects of a list; null for none.
  const Json* list(const Json& object, const std::string& key, const Steps& path) {
    const auto it = object.find(key);
    if (it == object.end() || it->is_null()) return nullptr;
    if (it->is_array()) return &*it;
    wrong(path / key, "key \"" + key + "\" is " + to_text(*it) + ", expected a list");
    return nullptr;
  }
  bool object(const Json& value, const Steps& path) {
    if (value.is_object()) return true;
    wrong(path, "is " + to_text(value) + ", expected an object");
    return false;
  }

 private:
  std::vector<ConfigProblem>& problems_;
};

void check_routes(AddressReader& reader, const Json& ipam, const Steps& path) {
  const Json* routes = reader.list(ipam, "routes", path);
  for (std::size_t i = 0; routes != nullptr && i < routes->size(); i++) {
    const Json& route = (*routes)[i];
    const Steps place = path / "routes" / i;
    if (!reader.object(route, place)) continue;
    if (!route.contains("dst")) reader.wrong(place, "the route has no \"dst\"");
    const auto dst = reader.prefix(route, "dst", place);
    const auto gateway = reader.address(route, "gw", place);
    if (dst && gateway && dst->address.v6 != gateway->v6)
      reader.wrong(place / "gw", "key \"gw\" is " + gateway->to_string() + ", another family than \"dst\" " +
                                     dst->to_string());
  }
}

// The keys of one range. host-local wants the subnet's own address: no bit of a host.
void check_range(AddressReader& reader, const Json& range, const Steps& path) {
  if (!reader.object(range, path)) return;
  if (!range.contains("subnet")) reader.wrong(path, "the range has no \"subnet\"");
  const auto subnet = reader.prefix(range, "subnet", path);
  const auto first = reader.address(range, "rangeStart", path);
  const auto last = reader.address(range, "rangeEnd", path);
  const auto gateway = reader.address(range, "gateway", path);
  if (subnet && subnet->network() != *subnet)
    reader.wrong(path / "subnet", "key \"subnet\" is " + subnet->to_string() +
                                      ", which has host bits set: it is " + subnet->network().to_string());
  const auto within = [&](const char* key, const std::optional<IpAddress>& address) {
    if (subnet && address && !subnet->contains(*address))
      reader.wrong(path / key, std::string("key \"") + key + "\" is " + address->to_string() +
                                   ", outside of \"subnet\" " + subnet->to_string());
  };
  within("rangeStart", first);
  within("rangeEnd", last);
  within("gateway", gateway);
  if (first && last && first->v6 == last->v6 && *last < *first)
    reader.wrong(path / "rangeEnd", "key \"rangeEnd\" is " + last->to_string() + ", before \"rangeStart\" " +
                                        first->to_string());
}

bool takes_ranges(const Json& plugin) {
  const auto capabilities = plugin.find("capabilities");
  return capabilities != plugin.end() && capabilities->is_object() &&
         capabilities->value("ipRanges", Json(false)) == true;
}

void check_host_local(AddressReader& reader, const Json& plugin, const Json& ipam, const Steps& path) {
  const Json* sets = reader.list(ipam, "ranges", path);
  if (ipam.contains("subnet")) check_range(reader, ipam, path);
  if ((sets == nullptr || sets->empty()) && !ipam.contains("subnet") && !takes_ranges(plugin))
    reader.wrong(path, "host-local has neither \"ranges\" nor \"subnet\" to take addresses from");
  for (std::size_t i = 0; sets != nullptr && i < sets->size(); i++) {
    const Json& set = (*sets)[i];
    const Steps place = path / "ranges" / i;
    if (!set.is_array() || set.empty()) {
      reader.wrong(place,
                   "is " + to_text(set) + ", expected a list of ranges: \"ranges\" is a list of lists");
      continue;
    }
    for (std::size_t j = 0; j < set.size(); j++) check_range(reader, set[j], place / j);
  }
}

void check_static(AddressReader& reader, const Json& ipam, const Steps& path) {
  const Json* addresses = reader.list(ipam, "addresses", path);
  for (std::size_t i = 0; addresses != nullptr && i < addresses->size(); i++) {
    const Steps place = path / "addresses" / i;
    if (!reader.object((*addresses)[i], place)) continue;
    if (!(*addresses)[i].contains("address")) reader.wrong(place, "the entry has no \"address\"");
    const auto address = reader.prefix((*addresses)[i], "address", place);
    const auto gateway = reader.address((*addresses)[i], "gateway", place);
    if (address && gateway && !address->contains(*gateway))
      reader.wrong(place / "gateway", "key \"gateway\" is " + gateway->to_string() +
                                          ", outside of \"address\" " + address->network().to_string());
  }
}

}  // namespace

std::vector<ConfigProblem> check_ipam_addresses(const Json& plugin) {
  std::vector<ConfigProblem> problems;
  const auto ipam = plugin.find("ipam");
  if (ipam == plugin.end() || !ipam->is_object()) return problems;
  const Json type = ipam->value("type", Json());
  AddressReader reader(problems);
  const Steps path = {"ipam"};
  if (type == "host-local") check_host_local(reader, plugin, *ipam, path);
  if (type == "static") check_static(reader, *ipam, path);
  if (type == "host-local" || type == "static") check_routes(reader, *ipam, path);
  return problems;
}

}  // namespace vmlane::multus
