// SPDX-License-Identifier: Apache-2.0
#include "cni/tap/tap.h"

#include <algorithm>
#include <charconv>

#include "cni/keys.h"
#include "cni/pod_link.h"
#include "core/names.h"

namespace vmlane::cni {
namespace {

// A tap of ours in the pod: by its alias, or, when the ADD was killed before it could be named, because it
// has the planned name, which was free when the ADD began.
bool is_own_tap(const netlink::Link& link, const Reclaim& reclaim) {
  if (link.kind != "tun") return false;
  const auto owner = names::parse_link_alias(link.alias);
  if (owner) return owner->attachment_id == reclaim.key.id();
  return link.alias.empty() && reclaim.record != nullptr && reclaim.record->result.is_null();
}

Result<> check_tap(const Inspection& inspection, netlink::Netlink& pod, const std::string& name) {
  const AttachmentRecord& record = inspection.record;
  VMLANE_ASSIGN(const auto tap, pod.find_link(name));
  if (!tap) return fail(Code::kChanged, "tap " + name + " is gone from the pod");
  if (record.mtu && tap->mtu != *record.mtu) {
    return fail(Code::kChanged, "MTU of " + name + " is " + std::to_string(tap->mtu) + ", ADD set " +
                                    std::to_string(*record.mtu));
  }
  VMLANE_ASSIGN(const auto info, inspection.node.kernel.tap_info(inspection.pod, name));
  const auto owner = record.handles.value("owner", 0U);
  const auto group = record.handles.value("group", 0U);
  if (info.owner != owner || info.group != group) {
    const auto shown = [](const std::optional<std::uint32_t>& id) {
      return id ? std::to_string(*id) : std::string("nobody");
    };
    return fail(Code::kChanged, "owner of tap " + name + " is " + shown(info.owner) + ":" +
                                    shown(info.group) + ", ADD set " + std::to_string(owner) + ":" +
                                    std::to_string(group));
  }
  VMLANE_ASSIGN(const auto pod_link, pod.find_link(record.key.ifname));
  if (!pod_link) return fail(Code::kChanged, "interface " + record.key.ifname + " is gone from the pod");
  return inspection.node.kernel.check_splice(inspection.pod, pod_link->index, tap->index);
}

// The links of an attachment in the pod share a group: deleting both at once takes half the time.
std::uint32_t link_group(const std::string& attachment_id) {
  constexpr std::size_t kDigits = 7;  // of 31 bits, since some tools read a group as signed
  std::uint32_t group = 0;
  std::from_chars(attachment_id.data(), attachment_id.data() + kDigits, group, 16);
  return std::max<std::uint32_t>(group, 1);
}

// With the pod's end of the pair, if that is known to be the only other link of its group.
Result<> remove_tap(const Reclaim& reclaim, netlink::Netlink& pod, const netlink::Link& tap) {
  VMLANE_ASSIGN(const auto links, pod.links());
  const bool only_ours = std::ranges::all_of(links, [&](const netlink::Link& link) {
    return link.group != tap.group || link.index == tap.index ||
           (link.kind == "veth" && link.name == reclaim.key.ifname);
  });
  // Without a record the bridge is found by the pair's port, which must be there until then.
  const bool together = reclaim.record != nullptr && only_ours && tap.group == link_group(reclaim.key.id());
  if (!together) return reclaim.remove_link("remove the tap", *reclaim.pod, tap.index);
  return reclaim.remove_link(
      "remove the tap and the veth pair", *reclaim.pod, tap.index,
      [group = tap.group](netlink::Netlink& remover) { return remover.delete_group(group); });
}

Result<> remove_own_tap(const Reclaim& reclaim) {
  if (reclaim.pod == nullptr) return {};
  const std::string name = reclaim.record != nullptr ? reclaim.record->handles.value("tap", "")
                                                     : names::tap_link(reclaim.key.ifname);
  VMLANE_ASSIGN(const auto pod, reclaim.node.kernel.netlink(*reclaim.pod));
  VMLANE_ASSIGN(const auto tap, pod->find_link(name));
  return tap && is_own_tap(*tap, reclaim) ? remove_tap(reclaim, *pod, *tap) : Result<>();
}

}  // namespace

std::vector<std::string> TapLane::pod_links(const AttachmentKey& key) const {
  return {key.ifname, names::tap_link(key.ifname)};
}

void TapLane::plan(AttachmentRecord& record) const {
  BridgeLane::plan(record);
  record.handles["tap"] = names::tap_link(record.key.ifname);
  record.handles["multi_queue"] = tap_.multi_queue;
  record.handles["owner"] = tap_.owner;
  record.handles["group"] = tap_.group;
}

Result<> TapLane::refuse_keys_of_containers() const {
  if (config().duplicate_detection) {
    return fail(Code::kUnsupportedField, "key \"enabledad\" is true, which vmlane-tap does not carry out",
                "the addresses are the guest's, which looks for duplicates by itself: remove the key");
  }
  if (config().leave_down) {
    return fail(Code::kUnsupportedField,
                "key \"disableContainerInterface\" is true, which vmlane-tap does not carry out",
                "nobody would bring its links up; they send nothing before the guest does: remove the key");
  }
  return {};
}

Result<> TapLane::configure_pod_side(ObjectReader& reader, const Request& request, const NodeConfig& node) {
  VMLANE_TRY(refuse_keys_of_containers());
  VMLANE_ASSIGN(const GuestDevice device, parse_guest_device(reader, node));
  VMLANE_ASSIGN(const bool multi_queue, parse_flag(reader, "multiQueue"));  // the reference plugin's spelling
  tap_.multi_queue = device.queues > 1 || multi_queue;
  tap_.owner = device.owner;
  tap_.group = device.group;
  VMLANE_ASSIGN(selinux_context_, reader.text("selinuxContext"));
  if (!selinux_context_.empty()) VMLANE_TRY(check_selinux_context(selinux_context_));
  return refuse_dhcp(request.config, "tap");
}

Result<> TapLane::make_tap(Attachment& attachment, const netlink::TapSpec& spec) const {
  Kernel& kernel = attachment.node.kernel;
  VMLANE_ASSIGN(const SelinuxMode mode, kernel.selinux_mode());
  if (mode == SelinuxMode::kAbsent && !selinux_context_.empty()) {
    attachment.node.log.info("the node has no SELinux, the key is without effect",
                             {{"selinuxContext", selinux_context_}});
  }
  const auto context = selinux_context(mode, selinux_context_);
  return attachment.transaction.step("make tap " + spec.name, [&] {
    return context ? kernel.create_labelled_tap(attachment.pod, spec, *context)
                   : kernel.create_tap(attachment.pod, spec);
  });
}

Result<> TapLane::wire_pod(Attachment& attachment, netlink::Netlink& pod_links, const netlink::Link& pod_link,
                           const CniResult&) {
  Kernel& kernel = attachment.node.kernel;
  AttachmentRecord& record = attachment.record;
  netlink::TapSpec spec = tap_;
  spec.name = record.handles.value("tap", "");
  const std::uint32_t group = link_group(record.key.id());
  VMLANE_TRY(silence_pod_link(attachment, pod_links, pod_link, group));
  VMLANE_TRY(make_tap(attachment, spec));
  VMLANE_ASSIGN(const auto tap, pod_links.find_link(spec.name));
  if (!tap)
    return fail(Code::kKernel, "tap " + spec.name + " vanished from the pod while it was being set up");
  const netlink::LinkChange identity{.mtu = record.mtu,
                                     .alias = names::link_alias(record.key.id(), attachment.node.boot_id)};
  VMLANE_TRY(attachment.transaction.step("name the owner of the tap",
                                         [&] { return pod_links.change_link(tap->index, identity); }));
  VMLANE_TRY(silence_pod_link(attachment, pod_links, *tap, group));
  VMLANE_TRY(attachment.transaction.step("splice tap and veth", [&] {
    return kernel.attach_splice(attachment.pod, pod_link.index, tap->index);
  }));
  VMLANE_TRY(attachment.transaction.step("bring the tap up",
                                         [&] { return pod_links.change_link(tap->index, {.up = true}); }));
  return attachment.transaction.step("bring the pod's link up",
                                     [&] { return pod_links.change_link(pod_link.index, {.up = true}); });
}

Result<> TapLane::silence(const Reclaim& reclaim) const {
  VMLANE_TRY(remove_own_tap(reclaim));
  return BridgeLane::silence(reclaim);
}

Result<> TapLane::reclaim(const Reclaim& reclaim) const {
  if (reclaim.record == nullptr) VMLANE_TRY(remove_own_tap(reclaim));
  return BridgeLane::reclaim(reclaim);
}

Result<> TapLane::check(const Inspection& inspection) {
  VMLANE_TRY(BridgeLane::check(inspection));
  VMLANE_ASSIGN(const auto pod, inspection.node.kernel.netlink(inspection.pod));
  return check_tap(inspection, *pod, inspection.record.handles.value("tap", ""));
}

Result<> TapLane::status(const Request& request, const Node& node) {
  VMLANE_TRY(BridgeLane::status(request, node));
  return node.kernel.tun_available();
}

}  // namespace vmlane::cni
