// SPDX-License-Identifier: Apache-2.0
#include "lab/lab.h"

#include <algorithm>

#include "core/invocation.h"

namespace vmlane::lab {
namespace {

std::string state_of(const Workload& workload) {
  const bool alive = !workload.processes.empty() && std::ranges::all_of(workload.processes, is_alive);
  if (workload.kind == WorkloadKind::kPod) return alive ? "running" : "exited";
  if (!alive) return "stopped";
  return workload.ready ? "ready" : "starting";
}

Json attachment_row(const Json& workload, const AttachmentRecord& record) {
  constexpr std::string_view kPluginPrefix = "vmlane-";
  Json row = workload;
  row["lane"] =
      record.plugin.starts_with(kPluginPrefix) ? record.plugin.substr(kPluginPrefix.size()) : record.plugin;
  row["network"] = record.nad.empty() ? record.key.network : record.nad;
  row["ifname"] = record.key.ifname;
  row["ips"] = Json::array();
  if (record.mac) row["mac"] = *record.mac;
  if (record.mtu) row["mtu"] = *record.mtu;
  if (record.result.is_object()) {
    for (const Json& ip : record.result.value("ips", Json::array()))
      row["ips"].push_back(ip.value("address", ""));
  }
  return row;
}

}  // namespace

Result<LabState> open_lab(const LabPaths& paths) {
  VMLANE_ASSIGN(auto state, read_state(paths));
  if (!state)
    return fail(Code::kNotFound, "there is no lab in " + paths.root.string(),
                "start one with: vmlanectl lab up FILE...");
  return std::move(*state);
}

Result<NodeConfig> lab_node_config(const LabPaths& paths) {
  Invocation invocation;
  invocation.env["VMLANE_CONFIG"] = paths.node_config().string();
  return load_node_config(invocation);
}

Result<Json> lab_rows(const LabPaths& paths) {
  VMLANE_ASSIGN(const LabState state, open_lab(paths));
  VMLANE_ASSIGN(const NodeConfig config, lab_node_config(paths));
  VMLANE_ASSIGN(const auto listing, RecordStore(config).list());
  Json rows = Json::array();
  for (const Workload& workload : state.workloads) {
    const Json own = {
        {"name", workload.id()}, {"kind", to_string(workload.kind)}, {"state", state_of(workload)}};
    const std::size_t before = rows.size();
    for (const AttachmentRecord& record : listing.records) {
      if (record.key.container_id == workload.container_id) rows.push_back(attachment_row(own, record));
    }
    if (rows.size() == before) rows.push_back(own);
  }
  return rows;
}

}  // namespace vmlane::lab
