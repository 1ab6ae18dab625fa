// SPDX-License-Identifier: Apache-2.0
#include "cni/macvtap/macvtap.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <thread>

#include "cni/ipam.h"
#include "cni/macvtap/device_node.h"
#include "cni/macvtap/lower.h"
#include "cni/macvtap/slot.h"
#include "cni/pod_link.h"
#include "cni/shaping.h"
#include "core/names.h"

namespace vmlane::cni {
namespace {

constexpr int kMaxNumbers = 16;

// By its alias; where somebody took that away, by the number that no other link of the node may have, once
// the ADD is known to have come so far.
bool is_own(const netlink::Link& link, const AttachmentKey& key, const AttachmentRecord* record) {
  if (link.kind != "macvtap") return false;
  const auto owner = names::parse_link_alias(link.alias);
  if (owner) return owner->attachment_id == key.id();
  return record != nullptr && !record->result.is_null() && record->handles.value("index", 0) == link.index;
}

// Under the name that ADD gave it, else by its number, else, with the record lost, under whatever name it
// has.
Result<std::optional<netlink::Link>> find_own(netlink::Netlink& links, const Reclaim& reclaim) {
  const auto own = [&](const netlink::Link& link) { return is_own(link, reclaim.key, reclaim.record); };
  VMLANE_ASSIGN(auto link, links.find_link(reclaim.key.ifname));
  if (link && own(*link)) return link;
  if (reclaim.record != nullptr && reclaim.record->handles.contains("index")) {
    VMLANE_ASSIGN(link, links.find_link(reclaim.record->handles.value("index", 0)));
    if (link && own(*link)) return link;
    return std::nullopt;
  }
  VMLANE_ASSIGN(const auto all, links.links());
  const auto found = std::ranges::find_if(all, own);
  return found == all.end() ? std::nullopt : std::optional(*found);
}

// Where the link may be: in its pod, or on the host when somebody took it out of there.
std::vector<const netlink::Namespace*> places(const Reclaim& reclaim) {
  if (reclaim.pod == nullptr) return {&reclaim.host};
  return {reclaim.pod, &reclaim.host};
}

// Of a node that was made by us and outlives its link.
std::optional<DeviceNode> made_node(const Reclaim& reclaim) {
  if (reclaim.record == nullptr || !reclaim.record->handles.is_object()) return std::nullopt;
  const Json& handles = reclaim.record->handles;
  if (!handles.contains("made_node") || !handles["made_node"].is_object()) return std::nullopt;
  const Json& node = handles["made_node"];
  return DeviceNode(handles.value("index", 0), {node.value("major", 0U), node.value("minor", 0U)});
}

// Repeats what is refused as kConflict, for a while: a pod that has ended may still be at being taken down by
// the kernel. `hopeless` is an error when there is no use in waiting, and then the answer.
Result<> patiently(const std::function<Result<>()>& work, const std::function<Result<>()>& hopeless) {
  constexpr auto kPatience = std::chrono::seconds(2);
  constexpr auto kPoll = std::chrono::milliseconds(20);
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    auto done = work();
    if (done || done.error().code != Code::kConflict) return done;
    VMLANE_TRY(hopeless());
    if (std::chrono::steady_clock::now() >= deadline) return done;
    std::this_thread::sleep_for(kPoll);
  }
}

Result<> check_link(netlink::Netlink& pod, const netlink::Link& link, const AttachmentRecord& record) {
  const std::string& name = record.key.ifname;
  if (record.mac && link.mac.to_string() != *record.mac)
    return changed("MAC of " + name, link.mac.to_string(), *record.mac);
  if (record.mtu && link.mtu != *record.mtu)
    return changed("MTU of " + name, std::to_string(link.mtu), std::to_string(*record.mtu));
  if (!link.up) return fail(Code::kChanged, "interface " + name + " is down");
  const bool promiscuous = record.handles.value("promiscuous", false);
  if (link.promiscuous != promiscuous)
    return changed("promiscuous mode of " + name, link.promiscuous ? "on" : "off",
                   promiscuous ? "on" : "off");
  if (!link.all_multicast) return changed("reception of all multicast by " + name, "off", "on");
  VMLANE_ASSIGN(const auto mode, pod.macvtap_mode(link.index));
  const std::string was = record.handles.value("mode", "");
  if (!mode || to_string(*mode) != was)
    return changed("mode of " + name, mode ? to_string(*mode) : "unknown", was);
  return {};
}

// The link's node and its inode, when only looking can tell whether it will go with the link: it will where
// the kernel keeps /dev, and what else an ADD made it has recorded, if it came to its end.
struct DoubtfulNode {
  DeviceNode node;
  ino_t inode = 0;
};
std::optional<DoubtfulNode> doubtful_node(const Reclaim& reclaim, const netlink::Namespace& where,
                                          int index) {
  if (reclaim.record != nullptr && !reclaim.record->result.is_null()) return std::nullopt;
  const auto number = reclaim.node.kernel.macvtap_device(where, index);
  if (!number) return std::nullopt;
  const DeviceNode node(index, *number);
  const auto inode = node.inode();
  if (!inode || !*inode) return std::nullopt;
  return DoubtfulNode{node, **inode};
}

// What the guest sends, a macvtap sends.
ebpf::WorkloadLink workload_link(const netlink::Namespace& pod, int index) {
  return {pod, index, netlink::Direction::kEgress};
}

// False when the link is not there.
Result<bool> remove_link(const Reclaim& reclaim, const netlink::Namespace& where) {
  VMLANE_ASSIGN(const auto links, reclaim.node.kernel.netlink(where));
  VMLANE_ASSIGN(const auto link, find_own(*links, reclaim));
  if (!link) return false;
  const auto doubtful = doubtful_node(reclaim, where, link->index);
  VMLANE_TRY(reclaim.remove_link("remove the macvtap", where, link->index));
  if (doubtful) VMLANE_TRY(doubtful->node.remove(doubtful->inode));
  return true;
}

}  // namespace

Result<> MacvtapLane::choose_lower(ObjectReader& reader, const Request& request) {
  VMLANE_ASSIGN(lower_, reader.text("lowerDevice"));
  if (!lower_.empty())
    VMLANE_TRY(names::check_link_name(lower_, "key \"lowerDevice\"", Code::kInvalidConfig));
  VMLANE_ASSIGN(const NicRequest nic, parse_nic_request(request));
  if (!nic.device_id.empty()) {
    VMLANE_ASSIGN(const names::MacvtapSlot slot, names::parse_macvtap_device_id(nic.device_id));
    if (!lower_.empty() && lower_ != slot.lower) {
      return fail(Code::kInvalidConfig,
                  "key \"lowerDevice\" is \"" + lower_ + "\", deviceID " + nic.device_id + " is on \"" +
                      slot.lower + "\"",
                  "remove the key: the device plugin's resource says it");
    }
    lower_ = slot.lower;
    slot_ = slot.index;
  }
  if (!lower_.empty() || request.command != Command::kAdd) return {};
  return fail(Code::kInvalidConfig, "there is neither key \"lowerDevice\" nor a deviceID",
              "name a device of the node, or let a device plugin's resource choose one");
}

Result<ConfigKeys> MacvtapLane::configure(const Request& request, const NodeConfig& node) {
  ObjectReader reader(request.config, "", Code::kInvalidConfig);
  VMLANE_TRY(choose_lower(reader, request));
  VMLANE_ASSIGN(const auto word, reader.string("mode"));
  const auto mode = parse_macvtap_mode(word.value_or("bridge"));
  if (!mode) return reader.wrong("mode", "bridge, private, vepa or passthru");
  mode_ = *mode;
  VMLANE_ASSIGN(mtu_, parse_mtu(reader));
  VMLANE_ASSIGN(promiscuous_, parse_flag(reader, "promiscMode"));
  VMLANE_ASSIGN(device_, parse_guest_device(reader, node));
  VMLANE_TRY(refuse_dhcp(request.config, "macvtap"));
  VMLANE_ASSIGN(const Ipam ipam, Ipam::parse(request.config));
  VMLANE_ASSIGN(workload_, parse_workload_config(reader, true, ipam.enabled()));
  return config_keys(request.config, reader);
}

void MacvtapLane::plan(AttachmentRecord& record) const {
  record.handles["lower"] = lower_;
  record.handles["mode"] = to_string(mode_);
  record.handles["pod_link"] = record.key.ifname;
  record.handles["promiscuous"] = promiscuous_;
  record.handles["queues"] = device_.queues;
  record.handles["owner"] = device_.owner;
  record.handles["group"] = device_.group;
}

Result<> MacvtapLane::create(Attachment& attachment, netlink::Netlink& pod,
                             const netlink::MacvtapSpec& spec) const {
  return patiently(
      [&] {
        return attachment.transaction.step("make the macvtap",
                                           [&] { return pod.create_macvtap(spec, attachment.host); });
      },
      [&] { return refuse_shared_lower(attachment.node, attachment.record, mode_); });
}

Result<> MacvtapLane::own_device(Attachment& attachment, const netlink::Link& link) const {
  AttachmentRecord& record = attachment.record;
  VMLANE_ASSIGN(const auto number, attachment.node.kernel.macvtap_device(attachment.pod, link.index));
  const DeviceNode node(link.index, number);
  VMLANE_ASSIGN(const auto present, node.inode());
  if (!present) {
    // On a /dev that the kernel does not keep. The link's end will not take the node along, so it must be
    // known before it is there.
    record.handles["made_node"] = {{"major", number.major}, {"minor", number.minor}};
    VMLANE_TRY(attachment.transaction.step("record the device node", [&] {
      return RecordStore(attachment.node.config).write(record, Sync::kContent);
    }));
    VMLANE_TRY(attachment.transaction.step("make the device node", [&] { return node.make(); }));
  }
  record.handles["device"] = node.path().string();
  return attachment.transaction.step("give the device node to its owner",
                                     [&] { return node.give_to(device_.owner, device_.group); });
}

Result<netlink::Link> MacvtapLane::make_link(Attachment& attachment, netlink::Netlink& pod,
                                             const netlink::Link& lower) {
  AttachmentRecord& record = attachment.record;
  netlink::MacvtapSpec spec{.name = record.key.ifname, .lower = lower.index, .mode = mode_};
  spec.alias = names::link_alias(record.key.id(), attachment.node.boot_id);
  VMLANE_ASSIGN(spec.mac, MacAddress::parse(record.mac.value_or("")));
  VMLANE_TRY(check_lower_mac(lower, spec.mac, mode_));
  VMLANE_ASSIGN(spec.mtu, lower_mtu(lower, mtu_));
  for (int attempt = 1;; attempt++) {
    VMLANE_ASSIGN(spec.index, slot_ ? Result<int>(*slot_) : take_macvtap_index(attachment.node.config));
    record.handles["index"] = spec.index;
    VMLANE_TRY(create(attachment, pod, spec));
    VMLANE_ASSIGN(auto link, pod.find_link(spec.index));
    if (!link)
      return fail(Code::kKernel, "macvtap " + spec.name + " vanished from the pod while it was being set up");
    const auto owned = own_device(attachment, *link);
    if (owned) return *link;
    // The number is that of somebody else's link, in a namespace we do not know.
    if (slot_ || owned.error().code != Code::kConflict || attempt == kMaxNumbers) return fail(owned.error());
    VMLANE_TRY(
        attachment.transaction.step("give the number up", [&] { return pod.delete_link(link->index); }));
  }
}

Result<> MacvtapLane::prepare(Attachment& attachment) {
  const Node& node = attachment.node;
  AttachmentRecord& record = attachment.record;
  VMLANE_ASSIGN(const auto host, node.kernel.netlink(attachment.host));
  VMLANE_ASSIGN(const auto pod, node.kernel.netlink(attachment.pod));
  // All that is made from here on is undone by the function that DEL uses.
  VMLANE_TRY(attachment.transaction.step(
      "begin the link", [] { return Result<>(); }, [this, &attachment] { return take_down(attachment); }));
  VMLANE_ASSIGN(const netlink::Link lower, find_lower(*host, lower_));
  record.handles["lower_index"] = lower.index;
  VMLANE_ASSIGN(const netlink::Link made, make_link(attachment, *pod, lower));
  VMLANE_TRY(silence_pod_link(attachment, *pod, made));
  VMLANE_ASSIGN(const MacAddress mac, MacAddress::parse(record.mac.value_or("")));
  if (made.mac != mac) {
    // Mode passthru: the link has taken the lower device's MAC, and gives it what it gets itself.
    VMLANE_TRY(attachment.transaction.step("set the MAC of the lower device",
                                           [&] { return pod->change_link(made.index, {.mac = mac}); }));
  }
  VMLANE_ASSIGN(link_, pod->find_link(made.index));
  if (!link_)
    return fail(Code::kKernel, "interface " + made.name + " vanished from the pod while it was being set up");
  record.mac = link_->mac.to_string();
  record.mtu = link_->mtu;
  return {};
}

Result<> MacvtapLane::open_ears(Attachment& attachment, netlink::Netlink& pod) const {
  // A guest joins multicast groups that the link knows nothing of; without all of them it would, to begin
  // with, miss the neighbour solicitations for its own IPv6 address. While the link is down: in mode passthru
  // the kernel would never take back what it gives the lower device for a link that is up.
  return attachment.transaction.step("have the macvtap take all multicast", [&] {
    return pod.change_link(link_->index, {.promiscuous = promiscuous_, .all_multicast = true});
  });
}

Result<> MacvtapLane::bring_up(Attachment& attachment, netlink::Netlink& pod) const {
  auto up = patiently(
      [&] {
        return attachment.transaction.step("bring the macvtap up",
                                           [&] { return pod.change_link(link_->index, {.up = true}); });
      },
      [] { return Result<>(); });
  if (up || up.error().code != Code::kConflict) return up;
  Error& error = up.error();
  error.message =
      "MAC " + attachment.record.mac.value_or("") + " is in use on lower device " + lower_ + " already";
  error.details = attachment.record.pod.migration.empty()
                      ? "another macvtap or macvlan has it; give one of them another MAC"
                      : "a macvtap shares its MAC with none, so the VM can only migrate to another node";
  return up;
}

Result<CniResult> MacvtapLane::apply(Attachment& attachment) {
  const AttachmentRecord& record = attachment.record;
  VMLANE_ASSIGN(const auto pod, attachment.node.kernel.netlink(attachment.pod));
  CniResult result = attachment.ipam;
  for (ResultIp& ip : result.ips) ip.interface = 0;
  result.interfaces = {{.name = record.key.ifname,
                        .mac = *record.mac,
                        .mtu = record.mtu,
                        .sandbox = attachment.request.netns}};
  VMLANE_TRY(open_ears(attachment, *pod));
  VMLANE_TRY(attach_workload(
      attachment, workload_,
      {.link = workload_link(attachment.pod, link_->index), .any_destination = promiscuous_, .in_pod = true},
      result));
  const Bandwidth& bandwidth = attachment.nic.bandwidth;
  VMLANE_TRY(limit_sent(attachment, *pod, *link_, {bandwidth.egress_rate, bandwidth.egress_burst}));
  VMLANE_TRY(limit_received(attachment, *pod, *link_, {bandwidth.ingress_rate, bandwidth.ingress_burst}));
  VMLANE_TRY(bring_up(attachment, *pod));
  return result;
}

Result<> MacvtapLane::silence(const Reclaim& reclaim) const {
  for (const netlink::Namespace* where : places(reclaim)) {
    VMLANE_ASSIGN(const bool removed, remove_link(reclaim, *where));
    if (removed) break;
  }
  return {};
}

Result<> MacvtapLane::reclaim(const Reclaim& reclaim) const {
  if (reclaim.record == nullptr) VMLANE_TRY(silence(reclaim));
  for (const netlink::Namespace* where : places(reclaim)) VMLANE_TRY(remove_limits(reclaim, *where));
  VMLANE_TRY(forget_workload(reclaim));
  const auto node = made_node(reclaim);
  if (!node) return {};
  return reclaim.step("remove the device node", [&] { return node->remove(); });
}

Result<> MacvtapLane::check(const Inspection& inspection) {
  const AttachmentRecord& record = inspection.record;
  VMLANE_ASSIGN(const auto host, inspection.node.kernel.netlink(inspection.host));
  VMLANE_ASSIGN(const auto pod, inspection.node.kernel.netlink(inspection.pod));
  VMLANE_TRY(check_lower(*host, record));
  VMLANE_ASSIGN(const auto link, pod->find_link(record.key.ifname));
  if (!link || !is_own(*link, record.key, &record))
    return fail(Code::kChanged, "macvtap " + record.key.ifname + " is gone from the pod");
  VMLANE_TRY(check_link(*pod, *link, record));
  VMLANE_TRY(check_workload(inspection, workload_link(inspection.pod, link->index)));
  VMLANE_TRY(check_limits(inspection, *pod));
  VMLANE_ASSIGN(const auto number, inspection.node.kernel.macvtap_device(inspection.pod, link->index));
  return DeviceNode(link->index, number)
      .check(record.handles.value("owner", 0U), record.handles.value("group", 0U));
}

Result<> MacvtapLane::status(const Request&, const Node& node) {
  if (lower_.empty()) return {};
  VMLANE_ASSIGN(const auto host_namespace, node.kernel.host_namespace());
  VMLANE_ASSIGN(const auto host, node.kernel.netlink(host_namespace));
  const auto lower = find_lower(*host, lower_);
  if (!lower) return fail(Code::kNotAvailable, lower.error().message, lower.error().details);
  const auto mtu = lower_mtu(*lower, mtu_);
  if (!mtu) return fail(Code::kNotAvailable, mtu.error().message, mtu.error().details);
  return {};
}

}  // namespace vmlane::cni
