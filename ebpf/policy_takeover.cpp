// SPDX-License-Identifier: Apache-2.0
#include "ebpf/policy_takeover.h"

#include <bpf/bpf.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <utility>

#include "core/names.h"
#include "ebpf/libbpf_error.h"
#include "ebpf/policy_entries.h"
#include "ebpf/policy_maps.h"
#include "netlink/bpf_filter.h"
#include "netlink/netlink.h"
#include "policy/connection.h"
#include "policy/subject.h"

namespace vmlane::ebpf {
namespace {

using netlink::Direction;
using netlink::FilterOrder;

vmlane_policy_state state_of(const PolicyPrograms& programs) {
  return read_value<vmlane_policy_state>(programs.map(PolicyMap::kState), kOnlyKey)
      .value_or(vmlane_policy_state{});
}

bool have_one_layout(const PolicyPrograms& a, const PolicyPrograms& b) {
  return state_of(a).layout == state_of(b).layout;
}

bool share(const PolicyPrograms& a, const PolicyPrograms& b) {
  const std::uint32_t id = inner_map_id(a.map(PolicyMap::kConnections), kOnlyKey);
  return id != 0 && id == inner_map_id(b.map(PolicyMap::kConnections), kOnlyKey);
}

// What a workload of another build is to this one.
Result<> adopt(const PolicyPrograms& other, const PolicyPrograms& own, std::uint32_t key) {
  constexpr int kUpper = 32;
  const auto old_owner = policy_owner(other.map(PolicyMap::kOwners), key);
  const auto old_subject = read_value<vmlane_policy_workload>(other.map(PolicyMap::kSubjects), key);
  if (!old_owner || !old_subject || old_subject->incarnation == 0) return {};  // it is going
  vmlane_policy_owner owner{};
  vmlane_policy_workload subject{};
  if (have_one_layout(other, own)) {
    owner = *old_owner;
    subject = *old_subject;
  } else {
    std::ranges::copy(old_owner->attachment, owner.attachment);
    subject.incarnation = old_subject->incarnation;
    subject.flags = old_subject->flags;
  }
  const bool known = share(other, own);
  // In no tables of this build yet, but none whose connections nobody noted.
  subject.endpoint[0] = subject.endpoint[1] = known ? std::uint64_t{subject.incarnation} << kUpper : 0;
  if (!known)
    subject.loose_until = now_in_ticks() + VMLANE_CONNECTION_SECONDS(VMLANE_STAGE_LOOSE_SECONDS) + 1;
  if (bpf_map_update_elem(own.map(PolicyMap::kOwners), &key, &owner, BPF_ANY) != 0 ||
      bpf_map_update_elem(own.map(PolicyMap::kSubjects), &key, &subject, BPF_ANY) != 0)
    return fail(libbpf_error("cannot write the policy entry of a workload of another build", errno));
  return {};
}

bool is_at(const PolicyPrograms& programs, std::uint32_t key, const std::string& attachment_id) {
  const auto owner = policy_owner(programs.map(PolicyMap::kOwners), key);
  return owner && attachment_of(*owner) == attachment_id;
}

// Which of a link's hooks have this build's programs after all that had the other's were given them.
struct Moved {
  bool from = false;
  bool to = false;
};

Result<> move_hook(const netlink::Namespace& where, int index, Direction direction,
                   const PolicyPrograms& other, const PolicyPrograms& own, std::uint32_t key, Moved& moved) {
  const auto filter = netlink::bpf_filter(where, index, direction, FilterOrder::kSecond);
  if (!filter && filter.error().code == Code::kNotFound) return {};
  if (!filter) return fail(filter.error());
  if (!*filter || (*filter)->class_id != key) return {};
  const std::uint32_t program = (*filter)->program_id;
  const bool is_from = program == other.from_id || program == own.from_id;
  if (!is_from && program != other.to_id && program != own.to_id) return {};
  if (program == other.from_id || program == other.to_id) {
    VMLANE_TRY(netlink::set_bpf_filter(where, index, direction,
                                       {.program = (is_from ? own.from : own.to).get(),
                                        .name = is_from ? kPolicyFromFilter : kPolicyToFilter,
                                        .class_id = static_cast<std::uint16_t>(key),
                                        .order = FilterOrder::kSecond}));
  }
  (is_from ? moved.from : moved.to) = true;
  return {};
}

// Links of the namespace that may be the attachment's: by their alias, or any of a pod's.
Result<Moved> move_in(const netlink::Namespace& where,
                      const std::function<bool(const netlink::Link&)>& may_be, const PolicyPrograms& other,
                      const PolicyPrograms& own, std::uint32_t key) {
  VMLANE_ASSIGN(const auto netlink, netlink::open_netlink(where));
  VMLANE_ASSIGN(const auto links, netlink->links());
  Moved moved;
  for (const netlink::Link& link : links) {
    if (!may_be(link)) continue;
    for (const Direction direction : {Direction::kIngress, Direction::kEgress})
      VMLANE_TRY(move_hook(where, link.index, direction, other, own, key, moved));
  }
  return moved;
}

Result<> move_workload(const PolicyPrograms& other, const PolicyPrograms& own, std::uint32_t key,
                       const std::string& attachment_id, const std::string& pod_namespace) {
  VMLANE_ASSIGN(const netlink::Namespace here, netlink::Namespace::current());
  const auto is_hosts = [&](const netlink::Link& link) {
    const auto owner = names::parse_link_alias(link.alias);
    return owner && owner->attachment_id == attachment_id;
  };
  VMLANE_ASSIGN(Moved moved, move_in(here, is_hosts, other, own, key));
  if (!moved.from && !moved.to && !pod_namespace.empty()) {
    const auto pod = netlink::Namespace::open(pod_namespace);
    if (!pod) return {};  // the pod has gone; its DEL takes the entries
    VMLANE_ASSIGN(moved, move_in(
                             *pod, [](const netlink::Link&) { return true; }, other, own, key));
  }
  if (!moved.from || !moved.to) return {};
  return remove_policy_entries(other.map(PolicyMap::kSubjects), other.map(PolicyMap::kOwners), key,
                               attachment_id);
}

}  // namespace

Result<std::vector<PolicyPrograms>> other_policy_builds(const std::filesystem::path& run_dir,
                                                        const PolicyPrograms& own) {
  VMLANE_ASSIGN(auto builds, all_policy_programs(run_dir));
  std::erase_if(builds, [&](const PolicyPrograms& build) { return build.from_id == own.from_id; });
  return builds;
}

std::uint64_t highest_generation(std::span<const PolicyPrograms> builds) {
  std::uint64_t highest = 0;
  for (const PolicyPrograms& build : builds)
    highest = std::max<std::uint64_t>(highest, state_of(build).epoch >> 1);
  return highest;
}

Result<> share_connections(const std::vector<PolicyPrograms>& others, const PolicyPrograms& own) {
  if (inner_map_id(own.map(PolicyMap::kConnections), kOnlyKey) != 0) return {};
  VMLANE_ASSIGN(const Mapping memory, map_memory(own.map(PolicyMap::kState), "the state of policy"));
  vmlane_policy_state& state = memory.as<vmlane_policy_state>().front();
  for (const PolicyPrograms& other : others) {
    const Fd connections = inner_map(other.map(PolicyMap::kConnections), kOnlyKey);
    if (!connections || !have_one_layout(other, own)) continue;
    const vmlane_policy_state theirs = state_of(other);
    state.seed = theirs.seed;
    state.connection_mask = theirs.connection_mask;
    return put_inner(own.map(PolicyMap::kConnections), kOnlyKey, connections);
  }
  return {};
}

Result<> adopt_workloads(const std::filesystem::path& run_dir, const PolicyPrograms& own,
                         const PolicyEndpoints& endpoints) {
  VMLANE_ASSIGN(const auto others, other_policy_builds(run_dir, own));
  for (const PolicyPrograms& other : others) {
    for (const auto& [id, key] : policy_keys(other.map(PolicyMap::kOwners))) {
      if (!endpoints.contains(id)) continue;
      VMLANE_ASSIGN(const ObjectLock lock, lock_policy_links(run_dir));
      if (is_at(other, key, id) && !is_at(own, key, id)) VMLANE_TRY(adopt(other, own, key));
    }
  }
  return {};
}

Result<> move_policy_links(const std::filesystem::path& run_dir, const PolicyPrograms& own,
                           const PolicyNamespaces& namespaces) {
  VMLANE_ASSIGN(const auto others, other_policy_builds(run_dir, own));
  Result<> first;
  for (const PolicyPrograms& other : others) {
    for (const auto& [id, key] : policy_keys(other.map(PolicyMap::kOwners))) {
      const auto where = namespaces.find(id);
      if (where == namespaces.end()) continue;
      VMLANE_ASSIGN(const ObjectLock lock, lock_policy_links(run_dir));
      if (!is_at(other, key, id) || !is_at(own, key, id)) continue;
      auto moved = move_workload(other, own, key, id, where->second);
      if (!moved && first)
        first = fail(moved.error().wrap("policy of attachment " + id + " stays with another build"));
    }
  }
  return first;
}

}  // namespace vmlane::ebpf
