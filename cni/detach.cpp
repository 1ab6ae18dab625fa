// SPDX-License-Identifier: Apache-2.0
#include "cni/detach.h"

#include <algorithm>

#include "cni/ipam.h"
#include "core/clock.h"

namespace vmlane::cni {
namespace {

// The pod's namespace when it is there and is the one that ADD saw; otherwise its inside is not touched: the
// path may lead to somebody else by now.
std::optional<netlink::Namespace> recorded_namespace(const Session& session, const AttachmentRecord& record) {
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
Result<> release_without_record(const Session& session, const Request& request) {
  const auto ipam = Ipam::parse(request.config);
  if (!ipam || !ipam->enabled()) return {};
  const Ipam::Caller caller{request.key,      request.netns,  request.cni_args,
                            request.cni_path, request.config, session.env};
  const auto found = ipam->find(caller);
  if (found) return ipam->del(caller);
  // An ADD without that program took nothing.
  session.log.warning("nothing to release", {{"error", found.error().text()}});
  return {};
}

}  // namespace

Result<> reclaim_record(const Session& session, const Lane& lane, AttachmentRecord record,
                        const std::string& cni_path) {
  VMLANE_ASSIGN(const auto host, session.node.kernel.host_namespace());
  const auto pod = recorded_namespace(session, record);
  Transaction steps(session.log, session.fault);
  if (record.state != RecordState::kDeleting) {
    record.state = RecordState::kDeleting;
    VMLANE_TRY(steps.step("record the deletion", [&]() -> Result<> {
      const auto written = session.store.write(record);
      // A full disk must not keep links and addresses alive; the old record serves as well.
      if (!written) session.log.warning("record stays as it was", {{"error", written.error().text()}});
      return {};
    }));
  }
  VMLANE_TRY(lane.reclaim(Reclaim{session.node, record.key, &record, host, pod ? &*pod : nullptr, steps}));
  if (record.ipam) {
    VMLANE_ASSIGN(const Ipam ipam, Ipam::parse(record.netconf));
    auto caller = Ipam::caller_of(record, session.env);
    if (!cni_path.empty() && cni_path != record.cni_path) caller.cni_path = cni_path + ":" + record.cni_path;
    VMLANE_TRY(steps.step("release addresses", [&] { return ipam.del(caller); }));
  }
  return steps.step("remove the record", [&]() -> Result<> {
    const auto removed = session.store.remove(record.key.id());
    // On a file system that went read-only the pod must still come to its end. What the record describes is
    // gone; the next GC, or ADD of the same attachment, removes it.
    if (!removed) session.log.warning("record is left behind", {{"error", removed.error().text()}});
    return {};
  });
}

Result<> reclaim_by_names(const Session& session, const Lane& lane, const Request& request) {
  VMLANE_ASSIGN(const auto host, session.node.kernel.host_namespace());
  const auto pod = requested_namespace(session, request, host);
  Transaction steps(session.log, session.fault);
  VMLANE_TRY(lane.reclaim(Reclaim{session.node, request.key, nullptr, host, pod ? &*pod : nullptr, steps}));
  VMLANE_TRY(steps.step("release addresses", [&] { return release_without_record(session, request); }));
  return steps.step("remove what is in the record's place", [&]() -> Result<> {
    const auto removed = session.store.remove(request.key.id());
    if (!removed) session.log.warning("left alone", {{"error", removed.error().text()}});
    return {};
  });
}

Result<> detach(const Session& session, Lane& lane, const Request& request) {
  VMLANE_ASSIGN(const auto lock, session.lock(request.key.id()));
  auto record = session.store.read(request.key.id());
  if (record && *record) return reclaim_record(session, lane, std::move(**record), request.cni_path);
  if (!record)
    session.log.warning("record cannot be used, going by names", {{"error", record.error().text()}});
  return reclaim_by_names(session, lane, request);
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
    const auto removed = reclaim_record(session, lane, **again, request.cni_path);
    if (!removed)
      errors.push_back(
          removed.error().wrap("attachment " + record.key.container_id + "/" + record.key.ifname));
  }
  if (ipam.enabled()) {
    const auto forwarded =
        ipam.gc({request.key, "", request.cni_args, request.cni_path, request.config, session.env});
    if (!forwarded) errors.push_back(forwarded.error());
  }
  return joined(errors, "GC of network " + request.key.network);
}

}  // namespace vmlane::cni
