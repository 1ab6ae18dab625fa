// SPDX-License-Identifier: Apache-2.0
// Services: which addresses nodes translate, and to whom.
#include <algorithm>
#include <cstddef>
#include <cstring>

#include "policy/tables.h"

namespace vmlane::policy {
namespace {

// Bytes of targets, in whole lines.
std::size_t room_for(std::uint32_t count) {
  const std::size_t bytes = count * sizeof(vmlane_policy_target);
  return (bytes + kLine - 1) / kLine * kLine;
}

}  // namespace

AddressKey Tables::key_of(const Frontend& frontend) {
  constexpr unsigned kProtocolAt = 16;
  return {VMLANE_POLICY_SERVICE | std::uint32_t{frontend.protocol} << kProtocolAt | frontend.port,
          frontend.address};
}

void Tables::mark_service(const std::string& id) {
  const auto service = services_.find(id);
  if (service == services_.end()) return;
  for (const Frontend& frontend : service->second.frontends) dirty_frontends_.insert(key_of(frontend));
}

void Tables::put(const Service& service) {
  const auto there = services_.find(service.id());
  if (there != services_.end() && there->second.frontends == service.frontends) return;
  remove_service(service.id());
  changed_ = true;
  for (const Frontend& frontend : service.frontends)
    frontends_[key_of(frontend)].emplace(service.id(), frontend.port_name);
  services_.emplace(service.id(), service);
  mark_service(service.id());
}

void Tables::remove_service(const std::string& id) {
  const auto found = services_.find(id);
  if (found == services_.end()) return;
  changed_ = true;
  mark_service(id);
  for (const Frontend& frontend : found->second.frontends) {
    const auto entry = frontends_.find(key_of(frontend));
    if (entry == frontends_.end()) continue;
    entry->second.erase({id, frontend.port_name});
    if (entry->second.empty()) frontends_.erase(entry);
  }
  services_.erase(found);
}

void Tables::put(const EndpointSlice& slice) {
  remove_slice(slice.id());
  if (slice.service.empty()) return;
  changed_ = true;
  const std::string service = slice.service_id();
  slices_of_[service].insert(slice.id());
  for (const IpAddress& address : slice.addresses) services_at_[address].insert(service);
  slices_.emplace(slice.id(), slice);
  mark_service(service);
}

void Tables::remove_slice(const std::string& id) {
  const auto found = slices_.find(id);
  if (found == slices_.end()) return;
  changed_ = true;
  const EndpointSlice slice = std::move(found->second);
  slices_.erase(found);
  const std::string service = slice.service_id();
  slices_of_[service].erase(id);
  const auto is_at = [&](const IpAddress& address) {
    return std::ranges::any_of(slices_of_[service], [&](const std::string& other) {
      const auto& addresses = slices_.at(other).addresses;
      return std::ranges::find(addresses, address) != addresses.end();
    });
  };
  for (const IpAddress& address : slice.addresses) {
    if (is_at(address)) continue;
    const auto entry = services_at_.find(address);
    if (entry == services_at_.end()) continue;
    entry->second.erase(service);
    if (entry->second.empty()) services_at_.erase(entry);
  }
  if (slices_of_[service].empty()) slices_of_.erase(service);
  mark_service(service);
}

Tables::Backends Tables::backends_of(const AddressKey& frontend) const {
  constexpr unsigned kProtocolAt = 16;
  Backends backends;
  const auto services = frontends_.find(frontend);
  if (services == frontends_.end()) return backends;
  for (const auto& [service, port_name] : services->second) {
    const auto ids = slices_of_.find(service);
    if (ids == slices_of_.end()) continue;
    for (const std::string& id : ids->second) {
      const EndpointSlice& slice = slices_.at(id);
      backends.broken = backends.broken || slice.broken;
      if (slice.v6 != frontend.address.v6) continue;
      for (const NamedPort& port : slice.ports) {
        if (port.name != port_name || port.protocol != (frontend.network >> kProtocolAt & UINT8_MAX))
          continue;
        for (const IpAddress& address : slice.addresses) backends.all.emplace_back(address, port.number);
      }
    }
  }
  std::ranges::sort(backends.all);
  const auto repeated = std::ranges::unique(backends.all);
  backends.all.erase(repeated.begin(), repeated.end());
  return backends;
}

std::optional<Tables::Backends> Tables::backends(const IpAddress& address, std::uint8_t protocol,
                                                 std::uint16_t port, bool own_node) const {
  IpAddress any;
  any.v6 = address.v6;
  for (const bool node_port : {false, true}) {
    if (node_port && !own_node) continue;
    const AddressKey key = key_of({node_port, node_port ? any : address, protocol, port, {}});
    Backends found = backends_of(key);
    if (found.broken || !found.all.empty()) return found;
  }
  return std::nullopt;
}

// Each that can be told apart, once.
std::vector<vmlane_policy_target> Tables::targets_of(const Backends& backends) {
  std::vector<vmlane_policy_target> targets;
  std::set<std::pair<std::uint64_t, std::uint32_t>> seen;
  for (const auto& [address, port] : backends.all) {
    const auto known = peer_of({0, address});
    const std::uint64_t peer =
        known ? *known : derived_->groups.group(0, derived_->trie.blocks_around(address));
    if (seen.emplace(peer, port).second) targets.push_back({.peer = peer, .port = port, .reserved = 0});
  }
  return targets;
}

// Targets that readers may know stay as they are: others are written elsewhere, and the slot goes over.
void Tables::refresh_frontend(const AddressKey& key) {
  Block& block = derived_->block;
  if (block.outgrown()) return;
  const Backends backends = backends_of(key);
  std::vector<vmlane_policy_target> targets;
  if (!backends.broken) targets = targets_of(backends);
  const bool too_many = targets.size() > VMLANE_POLICY_MAX_TARGETS;
  if (too_many) targets.clear();
  const auto before = derived_->targets.find(key);
  const bool is_known = backends.broken || !backends.all.empty();
  const Derived::Targets old = before == derived_->targets.end() ? Derived::Targets() : before->second;
  const auto count = static_cast<std::uint32_t>(targets.size());
  const auto same = [&] {
    return std::memcmp(&block.at<vmlane_policy_target>(old.offset), targets.data(),
                       count * sizeof(vmlane_policy_target)) == 0;
  };
  if (is_known == (before != derived_->targets.end()) && old.count == count && old.too_many == too_many &&
      (count == 0 || same()))
    return;
  if (old.count > 0) block.release(old.offset, room_for(old.count));
  const bool had_any = !derived_->targets.empty();
  if (!is_known) {
    derived_->targets.erase(before);
    derived_->addresses.write(key, std::nullopt);
  } else {
    Derived::Targets now{.offset = 0, .count = count, .too_many = too_many};
    if (count > 0) {
      now.offset = block.reserve(room_for(count));
      if (block.outgrown()) return;
      std::memcpy(&block.at<vmlane_policy_target>(now.offset), targets.data(),
                  count * sizeof(vmlane_policy_target));
      block.touch(now.offset, room_for(count));
    }
    constexpr unsigned kUpper = 32;
    derived_->addresses.write(key, std::uint64_t{count} << kUpper | now.offset);
    derived_->targets[key] = now;
  }
  const bool has_any = !derived_->targets.empty();
  if (had_any == has_any || !published()) return;
  const auto at = static_cast<std::uint32_t>(derived_->header + offsetof(vmlane_policy_header, services));
  block.set(Block::Turn::kPeers, at, std::uint32_t{has_any ? 1U : 0U});
}

void Tables::add_problems_of_services(std::vector<Problem>& problems) const {
  std::set<std::string> reported;
  for (const auto& [key, targets] : derived_->targets) {
    const auto services = frontends_.find(key);
    if (!targets.too_many || services == frontends_.end()) continue;
    for (const auto& [id, port_name] : services->second) {
      const auto service = services_.find(id);
      if (service == services_.end() || !reported.insert(id).second) continue;
      problems.push_back({"Service", id, "spec.ports",
                          "has endpoints that policies tell apart in more than " +
                              std::to_string(VMLANE_POLICY_MAX_TARGETS) + " ways",
                          "no connection to it is let out where egress is judged", service->second.source});
    }
  }
}

}  // namespace vmlane::policy
