// SPDX-License-Identifier: Apache-2.0
#include "cni/leftovers.h"

#include <thread>

#include "cni/detach.h"
#include "cni/recorded_call.h"
#include "core/files.h"
#include "core/names.h"

namespace vmlane::cni {
namespace {

Result<bool> host_end_is_there(const Node& node, const AttachmentRecord& record) {
  const std::string name = record.handles.is_object() ? record.handles.value("host_link", "") : std::string();
  if (name.empty()) return false;
  VMLANE_ASSIGN(const auto host, node.kernel.host_namespace());
  VMLANE_ASSIGN(const auto links, node.kernel.netlink(host));
  VMLANE_ASSIGN(const auto link, links->find_link(name));
  if (!link) return false;
  const auto owner = names::parse_link_alias(link->alias);
  return owner && owner->attachment_id == record.key.id();
}

bool namespace_is_there(const Node& node, const AttachmentRecord& record) {
  auto pod = node.kernel.open_namespace(record.netns.path);
  if (!pod) return false;
  const auto now = pod->identity();
  return now && same_namespace(*now, record.netns);
}

std::string described(const AttachmentRecord& record) {
  return record.key.container_id + "/" + record.key.ifname + " on network " + record.key.network;
}

bool is_predecessor(const AttachmentRecord& record, const AttachmentRecord& successor) {
  return record.key.id() != successor.key.id() && record.key.network == successor.key.network &&
         record.key.ifname == successor.key.ifname && !record.pod.workload().empty() &&
         record.pod.workload() == successor.pod.workload();
}

}  // namespace

Result<bool> sandbox_is_gone(const Node& node, const AttachmentRecord& record,
                             std::chrono::milliseconds patience) {
  if (record.boot_id != node.boot_id) return true;
  if (namespace_is_there(node, record)) return false;
  constexpr auto kPoll = std::chrono::milliseconds(10);
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (;;) {
    VMLANE_ASSIGN(const bool alive, host_end_is_there(node, record));
    if (!alive) return true;
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(kPoll);
  }
}

Result<> delete_by_plugin(const Environment& caller, const AttachmentRecord& record,
                          const std::string& cni_path) {
  VMLANE_ASSIGN(const RecordedCall call, recorded_delete(caller, record, cni_path));
  VMLANE_TRY(run_plugin(call.program, call.env, call.input));
  return {};
}

Result<> reclaim_dead(const Session& session, const Lane& lane, const AttachmentRecord& dead,
                      const std::string& cni_path) {
  session.log.info("attachment of a sandbox that is gone is removed", {{"dead", described(dead)}});
  if (dead.plugin != lane.type()) return delete_by_plugin(session.env, dead, cni_path);
  VMLANE_ASSIGN(const auto lock, session.lock(dead.key.id()));
  VMLANE_ASSIGN(auto record, session.store.read(dead.key.id()));
  if (!record || record->created != dead.created) return {};
  VMLANE_TRY(reclaim_record(session, lane, std::move(*record), cni_path, lock));
  lock.retire();
  return {};
}

Result<> reclaim_earlier_boots(const Session& session, const Lane& lane, const std::string& cni_path) {
  const auto marker = session.config.boot_marker();
  const auto is_done = [&] {
    const auto seen = read_file(marker);
    return seen && *seen && **seen == session.node.boot_id + "\n";
  };
  if (is_done()) return {};
  VMLANE_ASSIGN(const auto lock, ObjectLock::acquire(session.config.locks_dir(), "boot", "boot"));
  if (is_done()) return {};
  VMLANE_ASSIGN(const auto listing, session.store.list());
  for (const AttachmentRecord& record : listing.records) {
    if (record.boot_id == session.node.boot_id) continue;
    const auto removed = reclaim_dead(session, lane, record, cni_path);
    if (!removed)
      session.log.error("attachment of an earlier boot is still there",
                        {{"dead", described(record)}, {"error", removed.error().text()}});
  }
  const auto marked = [&]() -> Result<> {
    VMLANE_TRY(make_directory(session.config.state_dir, {.mode = 0750, .group = session.config.vmlane_gid}));
    return write_file_atomically(marker, session.node.boot_id + "\n",
                                 {.mode = 0640, .group = session.config.vmlane_gid});
  }();
  if (!marked) session.log.warning("the boot is not marked", {{"error", marked.error().text()}});
  return {};
}

Result<bool> reclaim_predecessors(const Session& session, const Lane& lane,
                                  const AttachmentRecord& successor) {
  VMLANE_ASSIGN(const auto listing, session.store.list());
  bool any = false;
  for (const AttachmentRecord& record : listing.records) {
    if (!is_predecessor(record, successor)) continue;
    constexpr auto kPatience = std::chrono::seconds(2);
    VMLANE_ASSIGN(const bool gone, sandbox_is_gone(session.node, record, kPatience));
    if (!gone) continue;
    VMLANE_TRY(reclaim_dead(session, lane, record, successor.cni_path));
    any = true;
  }
  return any;
}

}  // namespace vmlane::cni
