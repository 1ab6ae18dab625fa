// SPDX-License-Identifier: Apache-2.0
#include "cni/attach.h"

#include "cni/acquire.h"
#include "cni/detach.h"
#include "cni/ipam.h"
#include "cni/leftovers.h"
#include "cni/pod_identity.h"
#include "core/clock.h"

namespace vmlane::cni {
namespace {

// The specification's skeleton tests this only after the plugin ran, when the damage is done.
Result<> refuse_own_namespace(const Request& request, const netlink::Namespace& host,
                              const netlink::Namespace& pod) {
  const std::string override_value = request.invocation.variable("CNI_NETNS_OVERRIDE");
  if (override_value == "1" || override_value == "true" || override_value == "TRUE") return {};
  VMLANE_ASSIGN(const bool same, pod.same_as(host));
  if (!same) return {};
  return fail(Code::kInvalidNamespace,
              "CNI_NETNS " + request.netns + " is the plugin's own network namespace",
              "a pod with host network gets no interface; nothing was changed");
}

// What stands in the way of a fresh start: an attachment in use is a conflict, leftovers are removed.
Result<> clear_the_way(const Session& session, const Lane& lane, const Request& request,
                       const netlink::Namespace& pod, netlink::Netlink& links, const ObjectLock& lock) {
  auto existing = session.store.read(request.key.id());
  if (!existing) {
    session.log.warning("unusable record is replaced", {{"error", existing.error().text()}});
    return reclaim_by_names(session, lane, request, lock);
  }
  if (!*existing) return {};
  const AttachmentRecord& record = **existing;
  VMLANE_ASSIGN(const NamespaceIdentity now, pod.identity());
  const bool same_pod = same_namespace(now, record.netns);
  VMLANE_ASSIGN(const auto link, links.find_link(request.key.ifname));
  if (record.state == RecordState::kDone && record.boot_id == session.node.boot_id && same_pod && link) {
    return fail(Code::kConflict,
                "container " + request.key.container_id + " has interface " + request.key.ifname +
                    " on network " + request.key.network + " already",
                "a DEL of the same container and interface removes it");
  }
  session.log.info("leftover of an earlier attachment is removed first",
                   {{"state", std::string(to_string(record.state))}});
  return reclaim_record(session, lane, record, request.cni_path, lock);
}

Result<> refuse_taken_names(const Lane& lane, const Request& request, netlink::Netlink& links) {
  for (const std::string& name : lane.pod_links(request.key)) {
    VMLANE_ASSIGN(const auto link, links.find_link(name));
    if (link) {
      return fail(Code::kConflict, "interface " + name + " already exists in " + request.netns,
                  "it was not made for this attachment and is left alone");
    }
  }
  return {};
}

Result<AttachmentRecord> new_record(const Session& session, const Lane& lane, const Request& request,
                                    const NicRequest& nic, const netlink::Namespace& pod, const Ipam& ipam,
                                    PodIdentity identity) {
  AttachmentRecord record;
  record.key = request.key;
  record.plugin = lane.type();
  record.netconf = request.config;
  record.cni_args = request.cni_args;
  record.cni_path = request.cni_path;
  VMLANE_ASSIGN(record.netns, pod.identity());
  record.boot_id = session.node.boot_id;
  record.pod = std::move(identity);
  VMLANE_ASSIGN(record.network_id, network_id(session.config, lane.segment()));
  record.nad = nic.nad;
  record.ipam = ipam.enabled();
  record.created = utc_now();
  record.handles = Json::object();
  if (!nic.device_id.empty()) record.handles["device_id"] = nic.device_id;
  lane.plan(record);
  return record;
}

// The entries of earlier plugins in the chain come first and stay as they are.
CniResult chained(const std::optional<CniResult>& earlier, CniResult own) {
  if (!earlier) return own;
  CniResult result = *earlier;
  const std::size_t offset = result.interfaces.size();
  for (ResultIp& ip : own.ips) {
    if (ip.interface) *ip.interface += offset;
  }
  const auto append = [](auto& to, auto& from) { to.insert(to.end(), from.begin(), from.end()); };
  append(result.interfaces, own.interfaces);
  append(result.ips, own.ips);
  append(result.routes, own.routes);
  if (!own.dns.empty()) result.dns = own.dns;
  return result;
}

// RFC 8200, 5. On a smaller link the kernel has no IPv6, and the address would be lost without a word.
Result<> refuse_mtu_below_ipv6(const Attachment& attachment) {
  constexpr std::uint32_t kMinIpv6Mtu = 1280;
  const std::uint32_t mtu = attachment.record.mtu.value_or(kMinIpv6Mtu);
  const auto v6 =
      std::ranges::find_if(attachment.ipam.ips, [](const ResultIp& ip) { return ip.address.address.v6; });
  if (mtu >= kMinIpv6Mtu || v6 == attachment.ipam.ips.end()) return {};
  const auto key = attachment.request.config.find("mtu");
  const bool asked = key != attachment.request.config.end() && *key == mtu;
  return fail(Code::kInvalidConfig,
              (asked ? std::string("key \"mtu\"") : "the network's MTU, as key \"mtu\" names none,") +
                  " is " + std::to_string(mtu) + ", but IPAM gave the IPv6 address " +
                  v6->address.to_string(),
              "IPv6 needs an MTU of at least " + std::to_string(kMinIpv6Mtu));
}

// All of an ADD that leaves a trace. `addresses` is what the attachment refers to as IPAM's.
Result<CniResult> make(const Session& session, Lane& lane, Acquisition& acquisition, Attachment& attachment,
                       CniResult& addresses) {
  VMLANE_TRY(acquisition.begin(attachment.nic));
  VMLANE_TRY(lane.prepare(attachment));
  VMLANE_ASSIGN(addresses, acquisition.finish());
  VMLANE_TRY(refuse_mtu_below_ipv6(attachment));
  VMLANE_ASSIGN(CniResult result, lane.apply(attachment));
  result.dns = attachment.nic.dns.empty() ? addresses.dns : attachment.nic.dns;
  result = chained(attachment.request.prev_result, std::move(result));
  AttachmentRecord& record = attachment.record;
  record.state = RecordState::kDone;
  record.result = result.to_json(kNewestVersion);
  VMLANE_TRY(attachment.transaction.step("record that it is done", [&] {
    // Should its name still lead to the intent after a loss of power, that serves as well.
    return session.store.write(record, Sync::kContent);
  }));
  return result;
}

}  // namespace

Result<CniResult> attach(const Session& session, Lane& lane, const Request& request) {
  const Node& node = session.node;
  VMLANE_TRY(configure(lane, request, node));
  VMLANE_ASSIGN(const NicRequest nic, parse_nic_request(request));
  VMLANE_ASSIGN(const Ipam ipam, Ipam::parse(request.config));
  VMLANE_ASSIGN(const auto host, node.kernel.host_namespace());
  VMLANE_ASSIGN(const auto pod, node.kernel.open_namespace(request.netns));
  VMLANE_TRY(refuse_own_namespace(request, host, pod));
  VMLANE_ASSIGN(PodIdentity identity, identify_pod(request, session.config, session.log));
  VMLANE_TRY(reclaim_earlier_boots(session, lane, request.cni_path));
  VMLANE_ASSIGN(const auto lock, session.lock(request.key.id()));
  VMLANE_ASSIGN(const auto pod_links, node.kernel.netlink(pod));
  VMLANE_TRY(clear_the_way(session, lane, request, pod, *pod_links, lock));
  VMLANE_TRY(refuse_taken_names(lane, request, *pod_links));

  VMLANE_ASSIGN(AttachmentRecord record,
                new_record(session, lane, request, nic, pod, ipam, std::move(identity)));
  CniResult addresses;
  Transaction transaction(session.log, session.fault);
  Acquisition acquisition(session, lane, ipam, record, transaction, lock);
  Attachment attachment{node, request, nic, host, pod, transaction, record, addresses};
  auto made = make(session, lane, acquisition, attachment, addresses);
  // Here, and not when the transaction ends: the undos go by what is declared after it.
  if (made)
    transaction.commit();
  else
    transaction.rollback();
  return made;
}

Result<> check_attachment(const Session& session, Lane& lane, const Request& request) {
  const Node& node = session.node;
  VMLANE_TRY(configure(lane, request, node));
  VMLANE_ASSIGN(const auto lock, session.lock(request.key.id()));
  VMLANE_ASSIGN(const auto record, session.store.read(request.key.id()));
  if (!record || record->state != RecordState::kDone) {
    return fail(Code::kUnknownContainer,
                "container " + request.key.container_id + " has no interface " + request.key.ifname +
                    " on network " + request.key.network,
                record ? "its record is in state " + std::string(to_string(record->state))
                       : "there is no record of an ADD");
  }
  VMLANE_ASSIGN(const auto host, node.kernel.host_namespace());
  VMLANE_ASSIGN(const auto pod, node.kernel.open_namespace(request.netns));
  VMLANE_ASSIGN(const NamespaceIdentity now, pod.identity());
  if (record->boot_id != node.boot_id || !same_namespace(now, record->netns))
    return fail(Code::kChanged, "CNI_NETNS " + request.netns + " is not the namespace that ADD set up");
  VMLANE_TRY(lane.check(Inspection{node, request, host, pod, *record}));
  VMLANE_ASSIGN(const Ipam ipam, Ipam::parse(record->netconf));
  if (!ipam.enabled()) return {};
  auto caller = Ipam::caller_of(*record, session.env);
  caller.cni_path = request.cni_path;
  caller.config = request.config;  // it has the prevResult that the delegate needs
  return ipam.check(caller);
}

}  // namespace vmlane::cni
