// SPDX-License-Identifier: Apache-2.0
#include "ebpf/policy.h"

#include <bpf/bpf.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <span>

#include "ebpf/libbpf_error.h"
#include "ebpf/policy_entries.h"
#include "ebpf/policy_maps.h"
#include "ebpf/policy_programs.h"
#include "ebpf/program.h"
#include "policy/subject.h"

namespace vmlane::ebpf {
namespace {

using netlink::Direction;
using netlink::FilterOrder;

std::uint32_t flags_of(const PolicySpec& spec) {
  std::uint32_t flags = 0;
  if (spec.deny) flags |= VMLANE_STAGE_DENY;
  if (spec.no_node) flags |= VMLANE_STAGE_NO_NODE;
  return flags;
}

// Never 0, which is nobody, and hardly ever one that was there before: connections are told by it.
Result<std::uint32_t> new_incarnation() {
  std::uint32_t number = 0;
  if (::getrandom(&number, sizeof(number), 0) != sizeof(number))
    return fail(kernel_error("cannot get a random number", errno));
  return number == 0 ? 1 : number;
}

Result<> write_entries(const PolicyPrograms& programs, std::uint32_t key, const PolicySpec& spec) {
  vmlane_policy_owner owner{};
  write_attachment(spec.attachment_id, owner);
  vmlane_policy_workload subject{};
  subject.flags = flags_of(spec);
  VMLANE_ASSIGN(subject.incarnation, new_incarnation());
  if (bpf_map_update_elem(programs.map(PolicyMap::kOwners), &key, &owner, BPF_ANY) != 0 ||
      bpf_map_update_elem(programs.map(PolicyMap::kSubjects), &key, &subject, BPF_ANY) != 0)
    return fail(libbpf_error("cannot write a workload's policy entry", errno));
  return {};
}

Result<> set_filters(const WorkloadLink& link, const PolicyPrograms& programs, std::uint16_t key) {
  VMLANE_TRY(netlink::set_bpf_filter(link.where, link.index, link.from_workload,
                                     {.program = programs.from.get(),
                                      .name = kPolicyFromFilter,
                                      .class_id = key,
                                      .order = FilterOrder::kSecond}));
  return netlink::set_bpf_filter(link.where, link.index, opposite(link.from_workload),
                                 {.program = programs.to.get(),
                                  .name = kPolicyToFilter,
                                  .class_id = key,
                                  .order = FilterOrder::kSecond});
}

Result<> check_filter(const WorkloadLink& link, Direction direction, std::span<const std::uint32_t> programs,
                      std::uint16_t key) {
  const auto filter = netlink::bpf_filter(link.where, link.index, direction, FilterOrder::kSecond);
  if (!filter && filter.error().code == Code::kNotFound) return fail(Code::kChanged, filter.error().message);
  if (!filter) return fail(filter.error());
  if (*filter && std::ranges::find(programs, (*filter)->program_id) != programs.end() &&
      (*filter)->class_id == key)
    return {};
  VMLANE_ASSIGN(const std::string name, link_name(link));
  return fail(Code::kChanged,
              name + " has no policy " + (direction == link.from_workload ? "from" : "to") + " the workload");
}

bool has_entries(const PolicyHandle& handle, const PolicySpec& spec) {
  const Fd subjects(bpf_map_get_fd_by_id(handle.subjects_map));
  const Fd owners(bpf_map_get_fd_by_id(handle.owners_map));
  if (!subjects || !owners) return false;
  const auto owner = policy_owner(owners.get(), handle.key);
  const auto subject = read_value<vmlane_policy_workload>(subjects.get(), handle.key);
  return owner && attachment_of(*owner) == spec.attachment_id && subject && subject->incarnation != 0 &&
         subject->flags == flags_of(spec);
}

PolicyHandle handle_in(const PolicyPrograms& programs, std::uint16_t key) {
  return {key, programs.map_id(PolicyMap::kSubjects), programs.map_id(PolicyMap::kOwners), programs.from_id,
          programs.to_id};
}

}  // namespace

Json PolicyHandle::to_json() const {
  return {{"key", key},
          {"subjects_map", subjects_map},
          {"owners_map", owners_map},
          {"from_program", from_program},
          {"to_program", to_program}};
}

std::optional<PolicyHandle> PolicyHandle::from_json(const Json& json) {
  if (!json.is_object()) return std::nullopt;
  const auto number = [&](const char* name) {
    const auto found = json.find(name);
    return found != json.end() && found->is_number_unsigned() ? found->get<std::uint32_t>() : 0;
  };
  const PolicyHandle handle{static_cast<std::uint16_t>(number("key")), number("subjects_map"),
                            number("owners_map"), number("from_program"), number("to_program")};
  if (handle.key == 0 || handle.subjects_map == 0) return std::nullopt;
  return handle;
}

Result<PolicyHandle> attach_policy(const NodeConfig& node, const WorkloadLink& link, std::uint16_t key,
                                   const PolicySpec& spec) {
  silence_libbpf();
  VMLANE_ASSIGN(const PolicyPrograms programs, policy_programs(node));
  auto attached = write_entries(programs, key, spec);
  if (attached) attached = set_filters(link, programs, key);
  if (attached) return handle_in(programs, key);
  // The error that matters is the one at hand; without entries a filter lets nothing through.
  (void)remove_policy_entries(programs.map(PolicyMap::kSubjects), programs.map(PolicyMap::kOwners), key,
                              spec.attachment_id);
  return fail(std::move(attached.error()));
}

Result<> check_policy(const std::filesystem::path& run_dir, const WorkloadLink& link,
                      const PolicyHandle& handle, const PolicySpec& spec) {
  silence_libbpf();
  VMLANE_ASSIGN(const auto builds, all_policy_programs(run_dir));
  std::vector<PolicyHandle> candidates{handle};
  for (const PolicyPrograms& build : builds) candidates.push_back(handle_in(build, handle.key));
  std::erase_if(candidates, [&](const PolicyHandle& candidate) { return !has_entries(candidate, spec); });
  if (candidates.empty()) {
    VMLANE_ASSIGN(const std::string name, link_name(link));
    return fail(Code::kChanged, "the policy of " + name + " is not the one that ADD set");
  }
  std::vector<std::uint32_t> from;
  std::vector<std::uint32_t> to;
  for (const PolicyHandle& candidate : candidates) {
    from.push_back(candidate.from_program);
    to.push_back(candidate.to_program);
  }
  VMLANE_TRY(check_filter(link, link.from_workload, from, handle.key));
  return check_filter(link, opposite(link.from_workload), to, handle.key);
}

Result<> forget_policy(const std::filesystem::path& run_dir, const std::string& attachment_id,
                       const std::optional<PolicyHandle>& handle) {
  silence_libbpf();
  VMLANE_ASSIGN(const ObjectLock lock, lock_policy_links(run_dir));
  if (handle) {
    const Fd subjects(bpf_map_get_fd_by_id(handle->subjects_map));
    const Fd owners(bpf_map_get_fd_by_id(handle->owners_map));
    if (subjects && owners) {
      VMLANE_TRY(remove_policy_entries(subjects.get(), owners.get(), handle->key, attachment_id));
    }
  }
  VMLANE_ASSIGN(const auto builds, all_policy_programs(run_dir));
  for (const PolicyPrograms& programs : builds) {
    const int owners = programs.map(PolicyMap::kOwners);
    const auto keys = policy_keys(owners);
    const auto found = keys.find(attachment_id);
    if (found == keys.end()) continue;
    VMLANE_TRY(
        remove_policy_entries(programs.map(PolicyMap::kSubjects), owners, found->second, attachment_id));
  }
  return {};
}

Result<std::vector<std::string>> policed_workloads(const std::filesystem::path& run_dir) {
  silence_libbpf();
  std::vector<std::string> ids;
  VMLANE_ASSIGN(const auto builds, all_policy_programs(run_dir));
  for (const PolicyPrograms& programs : builds) {
    for (const auto& [id, key] : policy_keys(programs.map(PolicyMap::kOwners))) ids.push_back(id);
  }
  std::ranges::sort(ids);
  return ids;
}

}  // namespace vmlane::ebpf
