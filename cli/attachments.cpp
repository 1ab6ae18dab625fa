// SPDX-License-Identifier: Apache-2.0
#include "cli/attachments.h"

#include "ebpf/workload.h"

namespace vmlane::cli {
namespace {

std::string pod_of(const AttachmentRecord& record) {
  return record.pod.name.empty() ? std::string() : record.pod.ns + "/" + record.pod.name;
}

}  // namespace

Json attachment_summary(const AttachmentRecord& record) {
  Json summary = {{"id", record.key.id()},
                  {"lane", record.plugin},
                  {"network", record.nad.empty() ? record.key.network : record.nad},
                  {"pod", pod_of(record)},
                  {"container_id", record.key.container_id},
                  {"ifname", record.key.ifname},
                  {"ips", Json::array()},
                  {"state", to_string(record.state)},
                  {"created", record.created}};
  if (record.mac) summary["mac"] = *record.mac;
  if (record.mtu) summary["mtu"] = *record.mtu;
  if (record.result.is_object()) {
    for (const Json& ip : record.result.value("ips", Json::array()))
      summary["ips"].push_back(ip.value("address", ""));
  }
  return summary;
}

Json attachment_counters(const AttachmentRecord& record) {
  if (!record.handles.is_object() || !record.handles.contains("workload")) return nullptr;
  const auto handle = ebpf::WorkloadHandle::from_json(record.handles["workload"]);
  const auto status = handle ? ebpf::workload_status(*handle, record.key.id()) : std::nullopt;
  if (!status) return nullptr;
  Json counters{{"dropped", Json::object()}};
  for (const auto& [reason, count] : status->dropped) counters["dropped"][reason] = count;
  for (const auto& [kind, count] : status->answered) counters["answered"][kind] = count;
  for (const IpAddress& address : status->link_locals) counters["link_locals"].push_back(address.to_string());
  for (const auto& [address, left] : status->learned) {
    Json entry{{"address", address.to_string()}};
    if (left) entry["seconds_left"] = left->count();
    counters["learned"].push_back(std::move(entry));
  }
  if (!status->learning.empty()) counters["learning"] = status->learning;
  return counters;
}

Result<AttachmentRecord> find_attachment(const RecordStore::Listing& listing, const std::string& id,
                                         const std::string& ifname) {
  const AttachmentRecord* found = nullptr;
  for (const AttachmentRecord& record : listing.records) {
    const bool fits = ifname.empty() ? record.key.id().starts_with(id)
                                     : record.key.container_id == id && record.key.ifname == ifname;
    if (!fits) continue;
    if (found != nullptr)
      return fail(Code::kConflict, "more than one attachment fits \"" + id + "\": " + found->key.id() + ", " +
                                       record.key.id());
    found = &record;
  }
  if (found != nullptr) return *found;
  return fail(Code::kNotFound,
              "there is no attachment \"" + id + "\"" + (ifname.empty() ? "" : " with interface " + ifname),
              "list them with: vmlanectl attachment ls");
}

}  // namespace vmlane::cli
