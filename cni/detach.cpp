// SPDX-License-Identifier: Apache-2.0
#include "cni/detach.h"

#include <algorithm>
#include <set>

#include "cni/ipam.h"
#include "cni/mac_claim.h"
#include "core/clock.h"

namespace vmlane::cni {
namespace {

// The pod's namespace when it is there and is the one that ADD saw; otherwise its inside is not touched: the
// path may lead to somebody else by now.
std::optional<netlink::Namespace> recorded_namespace(const Session& session, const AttachmentRecord& record) {
  // Inodes and cookies count anew in each boot.
  if (record.boot_id != session.node.boot_id) return std::nullopt;
  auto pod = session.node.kernel.open_namespace(record.netns.path);
  if (!pod) return std::nullopt;
  const auto now = pod->identity();
  if (!now || !same_namespace(*now, record.netns)) return std::nullopt;
  return std::move(*pod);
}

// Without a record the call's own namespace is all there is, as long as it is not the node's.
std::optional<netlink::Namespace> requested_namespace(const Session& session, const Request& request,
                                                      const netlink::Namespace& host) {
  if (request.netns.empty()) return std::nullopt;
  auto pod = session.node.kernel.open_namespace(request.netns);
  if (!pod) return std::nullopt;
  const auto same = pod->same_as(host);
  if (!same || *same) return std::nullopt;
  return std::move(*pod);
}

// Addresses may have been given out for an ADD whose record is lost; the allocator finds them by container
// id.
Result<> release_without_record(const Session& session, const Request& request, const ObjectLock& lock) {
  const auto ipam = Ipam::parse(request.config);
  if (!ipam || !ipam->enabled()) return {};
  const Ipam::Caller caller{
      request.key, request.netns, request.cni_args, request.cni_path, request.config, session.env,
      {},          lock.fd()};
  const auto found = ipam->find(caller);
  if (found) return ipam->del(caller);
  // An ADD without that program took nothing.
  session.log.warning("nothing to release", {{"error", found.error().text()}});
  return {};
}

// Who gets the MAC of a migration's target that is taken down: the attachment it took it from, if that is
// still there.
Result<std::string> heir_of(const Session& session, const AttachmentRecord& record) {
  if (record.pod.migration.empty()) return std::string();
  VMLANE_ASSIGN(const auto listing, session.store.list());
  for (const AttachmentRecord& other : listing.records) {
    if (other.key.id() != record.key.id() && other.mac == record.mac && other.network_id == record.network_id)
      return other.key.id();
  }
  return std::string();
}

Result<> release_mac(const Session& session, const AttachmentRecord& record) {
  if (!record.mac || !record.network_id) return {};
  const auto mac = MacAddress::parse(*record.mac);
  if (!mac) return {};
  VMLANE_ASSIGN(const std::string heir, heir_of(session, record));
  return MacClaims(session.config, *record.network_id).release(*mac, record.key.id(), heir);
}

// The config of a GC call for the IPAM plugin. Attachments that came to be after the runtime made its list
// are not in it; to a plugin that takes the list for all there is their addresses would look dead.
Result<Json> gc_config(const Session& session, const Request& request,
                       const std::vector<AttachmentKey>& valid) {
  VMLANE_ASSIGN(const auto listing, session.store.list());
  std::set<std::pair<std::string, std::string>> living;
  for (const AttachmentKey& key : valid) living.emplace(key.container_id, key.ifname);
  for (const AttachmentRecord& record : listing.records) {
    if (record.key.network == request.key.network) living.emplace(record.key.container_id, record.key.ifname);
  }
  Json list = Json::array();
  for (const auto& [container, ifname] : living)
    list.push_back({{"containerID", container}, {"ifname", ifname}});
  Json config = request.config;
  config["cni.dev/valid-attachments"] = list;
  config["cni.dev/attachments"] = list;
  return config;
}

// No ADD of this network may take an address between the list and the IPAM plugin's work.
Result<> collect_addresses(const Session& session, const Ipam& ipam, const Request& request,
                           const std::vector<AttachmentKey>& valid) {
  VMLANE_ASSIGN(const auto lock, session.lock_network(request.key.network, ObjectLock::Mode::kExclusive));
  VMLANE_ASSIGN(const Json config, gc_config(session, request, valid));
  return ipam.gc({request.key, "", request.cni_args, request.cni_path, config, session.env, {}, -1});
}

}  // namespace

Result<> reclaim_record(const Session& session, const Lane& lane, AttachmentRecord record,
                        const std::string& cni_path, const ObjectLock& lock) {
  VMLANE_ASSIGN(const auto host, session.node.kernel.host_namespace());
  const auto pod = recorded_namespace(session, record);
  Transaction steps(session.log, session.fault);
  if (record.state != RecordState::kDeleting) {
    record.state = RecordState::kDeleting;
    VMLANE_TRY(steps.step("record the deletion", [&]() -> Result<> {
      const auto written = session.store.write(record, Sync::kLater);
      // A full disk must not keep links and addresses alive; the old record serves as well.
      if (!written) session.log.warning("record stays as it was", {{"error", written.error().text()}});
      return {};
    }));
  }
  const Reclaim reclaim{session.node, record.key, &record, host, pod ? &*pod : nullptr, steps};
  VMLANE_ASSIGN(const Ipam ipam, record.ipam ? Ipam::parse(record.netconf) : Ipam());
  VMLANE_TRY(lane.silence(reclaim));
  std::optional<Result<Ipam::Pending>> release;
  if (ipam.enabled()) {
    auto caller = Ipam::caller_of(record, session.env);
    caller.lock = lock.fd();
    if (!cni_path.empty() && cni_path != record.cni_path) caller.cni_path = cni_path + ":" + record.cni_path;
    VMLANE_TRY(steps.step("have IPAM release the addresses", [&]() -> Result<> {
      release = ipam.start(caller, "DEL");
      return {};
    }));
  }
  // While IPAM is at work. A disk that refuses must not keep links and addresses alive.
  const auto synced = session.store.sync(record.key.id());
  if (!synced) session.log.warning("record may be lost with the power", {{"error", synced.error().text()}});
  VMLANE_TRY(lane.reclaim(reclaim));
  // Only now: links must not stay because addresses cannot be released.
  if (release) {
    VMLANE_TRY(steps.step("wait for IPAM", [&]() -> Result<> {
      if (!*release) return fail(release->error());
      return ipam.finish_del(std::move(**release));
    }));
  }
  VMLANE_TRY(steps.step("give the MAC back", [&]() -> Result<> {
    const auto released = release_mac(session, record);
    // A claim counts only as long as its record is there.
    if (!released) session.log.warning("claim is left behind", {{"error", released.error().text()}});
    return {};
  }));
  return steps.step("remove the record", [&]() -> Result<> {
    const auto removed = session.store.remove(record.key.id());
    // On a file system that went read-only the pod must still come to its end. What the record describes is
    // gone; the next GC, or ADD of the same attachment, removes it.
    if (!removed) session.log.warning("record is left behind", {{"error", removed.error().text()}});
    return {};
  });
}

Result<> reclaim_by_names(const Session& session, const Lane& lane, const Request& request,
                          const ObjectLock& lock) {
  VMLANE_ASSIGN(const auto host, session.node.kernel.host_namespace());
  const auto pod = requested_namespace(session, request, host);
  Transaction steps(session.log, session.fault);
  VMLANE_TRY(lane.reclaim(Reclaim{session.node, request.key, nullptr, host, pod ? &*pod : nullptr, steps}));
  VMLANE_TRY(steps.step("release addresses", [&] { return release_without_record(session, request, lock); }));
  VMLANE_TRY(steps.step("give MACs back", [&]() -> Result<> {
    const auto released = release_all_macs(session.config, request.key.id());
    if (!released) session.log.warning("claim is left behind", {{"error", released.error().text()}});
    return {};
  }));
  return steps.step("remove what is in the record's place", [&]() -> Result<> {
    const auto removed = session.store.remove(request.key.id());
    if (!removed) session.log.warning("left alone", {{"error", removed.error().text()}});
    return {};
  });
}

Result<> detach(const Session& session, Lane& lane, const Request& request) {
  VMLANE_ASSIGN(const auto lock, session.lock(request.key.id()));
  auto record = session.store.read(request.key.id());
  if (!record)
    session.log.warning("record cannot be used, going by names", {{"error", record.error().text()}});
  VMLANE_TRY(record && *record ? reclaim_record(session, lane, std::move(**record), request.cni_path, lock)
                               : reclaim_by_names(session, lane, request, lock));
  lock.retire();
  return {};
}

Result<> collect_garbage(const Session& session, Lane& lane, const Request& request) {
  const std::string started = utc_now();
  VMLANE_ASSIGN(const auto valid, parse_valid_attachments(request));
  VMLANE_ASSIGN(const Ipam ipam, Ipam::parse(request.config));
  if (!valid) {
    // Nobody said which attachments are dead.
    session.log.info("no list of valid attachments, nothing removed");
    return {};
  }
  VMLANE_ASSIGN(const auto listing, session.store.list());
  for (const Error& problem : listing.problems)
    session.log.warning("no attachment record, left alone", {{"error", problem.text()}});
  std::vector<Error> errors;
  for (const AttachmentRecord& record : listing.records) {
    const bool ours = record.key.network == request.key.network && record.plugin == lane.type();
    // An attachment younger than this call cannot be in the runtime's list, which is older.
    if (!ours || record.created >= started || std::ranges::find(*valid, record.key) != valid->end()) continue;
    const auto lock = session.lock(record.key.id());
    const auto again = lock ? session.store.read(record.key.id())
                            : Result<std::optional<AttachmentRecord>>(fail(lock.error()));
    if (!again) errors.push_back(again.error());
    // Made anew since the list was read: the runtime's list is older than it.
    if (!again || !*again || (*again)->created != record.created) continue;
    session.log.info("attachment is not in the list of valid ones",
                     {{"dead", record.key.container_id + "/" + record.key.ifname}});
    const auto removed = reclaim_record(session, lane, **again, request.cni_path, *lock);
    if (removed)
      lock->retire();
    else
      errors.push_back(
          removed.error().wrap("attachment " + record.key.container_id + "/" + record.key.ifname));
  }
  if (ipam.enabled()) {
    const auto forwarded = collect_addresses(session, ipam, request, *valid);
    if (!forwarded) errors.push_back(forwarded.error());
  }
  return joined(errors, "GC of network " + request.key.network);
}

}  // namespace vmlane::cni
