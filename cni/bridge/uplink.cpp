// SPDX-License-Identifier: Apache-2.0
#include "cni/bridge/uplink.h"

#include <algorithm>
#include <charconv>

#include "core/names.h"

namespace vmlane::cni {
namespace {

constexpr std::string_view kBridgeAlias = "vmlane:bridge";
constexpr std::string_view kUplinkPart = ":uplink=";  // a link's name has no ':'
constexpr std::string_view kRaisedPart = ":raised=";
constexpr std::string_view kUplinkAlias = "vmlane:uplink";  // of a VLAN device that was made for it

std::unexpected<Error> refused(const std::string& name, const std::string& why, const std::string& fix) {
  return fail(Code::kConflict, "key \"uplink\" is \"" + name + "\", which " + why, fix);
}

struct VlanName {
  std::string lower;
  std::uint16_t vlan = 0;
};

// "<nic>.<vlan>".
std::optional<VlanName> parse_vlan_name(const std::string& name) {
  const std::size_t dot = name.rfind('.');
  if (dot == std::string::npos || dot == 0) return std::nullopt;
  const std::string digits = name.substr(dot + 1);
  std::uint16_t vlan = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), vlan);
  const bool whole = error == std::errc() && end == digits.data() + digits.size();
  if (!whole || digits.starts_with('0') || vlan < netlink::kMinVlan || vlan > netlink::kMaxVlan)
    return std::nullopt;
  return VlanName{name.substr(0, dot), vlan};
}

// Addresses that stop working on a bridge port: all but those the kernel makes for the link itself.
Result<std::string> addresses_to_lose(netlink::Netlink& host, const netlink::Link& link) {
  constexpr std::uint8_t kScopeLink = 253;  // RT_SCOPE_LINK
  VMLANE_ASSIGN(const auto addresses, host.addresses(link.index));
  std::string out;
  for (const auto& entry : addresses) {
    if (entry.prefix.address.v6 && entry.scope == kScopeLink) continue;
    out += (out.empty() ? "" : ", ") + entry.prefix.to_string();
  }
  return out;
}

// What cannot be an uplink of any bridge of ours.
Result<> refuse_unfit(netlink::Netlink& host, const netlink::Link& link,
                      const std::optional<netlink::Link>& bridge) {
  if (link.loopback) return refused(link.name, "is the loopback device", "name the node's NIC");
  if (link.kind == "bridge") {
    return refused(link.name, "is a bridge itself",
                   "name the NIC, or say \"bridge\": \"" + link.name + "\" to use that bridge");
  }
  if (names::parse_link_alias(link.alias))
    return refused(link.name, "belongs to an attachment", "name the node's NIC");
  if (link.kind == "vlan" && bridge && link.peer == bridge->index && !link.peer_namespace_id)
    return refused(link.name, "is on top of the bridge itself", "name the node's NIC");
  if (link.master != 0) {
    VMLANE_ASSIGN(const auto master, host.find_link(link.master));
    const std::string of = master ? master->name : "another device";
    return refused(link.name, "is a port of " + of,
                   "name another NIC, or take it out: ip link set " + link.name + " nomaster");
  }
  VMLANE_ASSIGN(const std::string addresses, addresses_to_lose(host, link));
  if (addresses.empty()) return {};
  return refused(link.name, "carries " + addresses + ": the node would lose them",
                 "make a bridge of your own with these addresses and this NIC and name it as \"bridge\", or "
                 "give the network a VLAN of the NIC, \"" +
                     link.name + ".100\" say");
}

Result<> refuse_large_mtu(const Uplink& uplink, std::optional<std::uint32_t> mtu) {
  if (mtu.value_or(0) <= uplink.mtu) return {};
  return fail(
      Code::kInvalidConfig,
      "key \"mtu\" is " + std::to_string(*mtu) + ", uplink " + uplink.name + " carries " +
          std::to_string(uplink.mtu),
      "lower the key or raise the uplink's MTU: ip link set " + uplink.name + " mtu " + std::to_string(*mtu));
}

Result<std::optional<netlink::Link>> lower_of(netlink::Netlink& host, const netlink::Link& link) {
  if (link.kind != "vlan" || link.peer == 0 || link.peer_namespace_id) return std::nullopt;
  return host.find_link(link.peer);
}

// A VLAN device that is still to be made.
Result<Uplink> judge_vlan_to_make(netlink::Netlink& host, const std::string& name,
                                  const std::optional<netlink::Link>& bridge) {
  const auto parts = parse_vlan_name(name);
  if (!parts) {
    return fail(Code::kNotFound, "key \"uplink\" is \"" + name + "\", and the node has no link of that name",
                "name a link of the node, or <NIC>.<VLAN> to have a VLAN device made");
  }
  VMLANE_ASSIGN(const auto lower, host.find_link(parts->lower));
  if (!lower) {
    return fail(Code::kNotFound,
                "key \"uplink\" is \"" + name + "\", and the node has neither that link nor " + parts->lower,
                "name a link of the node, or <NIC>.<VLAN> to have a VLAN device made");
  }
  if (lower->loopback) return refused(name, "would be on the loopback device", "name the node's NIC");
  if (bridge && lower->index == bridge->index)
    return refused(name, "would be on top of the bridge itself", "name the node's NIC");
  return Uplink{.name = name, .link = std::nullopt, .lower = *lower, .vlan = parts->vlan, .mtu = lower->mtu};
}

Result<Uplink> judge_port_of(const netlink::Link& bridge, const std::string& name,
                             const std::optional<netlink::Link>& link) {
  if (!link || link->master != bridge.index) {
    return fail(Code::kConflict,
                "key \"uplink\" is \"" + name + "\", which is no port of bridge " + bridge.name +
                    "; the bridge is not vmlane's and is left as it is",
                "make it one: ip link set " + name + " master " + bridge.name + ", or leave the key out");
  }
  return Uplink{.name = name, .link = *link, .lower = std::nullopt, .mtu = link->mtu};
}

// A NIC that is down cannot carry an uplink; what is raised is noted, so that it goes down again.
std::string to_be_raised(const Uplink& uplink) {
  if (uplink.lower && !uplink.lower->up) return uplink.lower->name;
  const bool made_here = !uplink.link || uplink.link->alias == kUplinkAlias;
  return !made_here && !uplink.link->up ? uplink.name : std::string();
}

Result<> note(Transaction& transaction, netlink::Netlink& host, const netlink::Link& bridge,
              const BridgeNote& what) {
  if (bridge.alias == what.alias()) return {};
  return transaction.step("note the uplink on the bridge",
                          [&] { return host.change_link(bridge.index, {.alias = what.alias()}); });
}

Result<netlink::Link> make_vlan(Attachment& attachment, netlink::Netlink& host, const Uplink& uplink) {
  const netlink::VlanSpec spec{.name = uplink.name,
                               .lower = uplink.lower->index,
                               .id = uplink.vlan,
                               .mtu = uplink.mtu,
                               .alias = std::string(kUplinkAlias)};
  VMLANE_TRY(
      attachment.transaction.step("make uplink " + uplink.name, [&] { return host.create_vlan(spec); }));
  VMLANE_ASSIGN(const auto link, host.find_link(uplink.name));
  if (!link) return fail(Code::kKernel, "uplink " + uplink.name + " vanished while it was being set up");
  return *link;
}

Result<> raise(Attachment& attachment, netlink::Netlink& host, const netlink::Link& link) {
  if (link.up) return {};
  return attachment.transaction.step("bring " + link.name + " up",
                                     [&] { return host.change_link(link.index, {.up = true}); });
}

// Whether other VLAN devices are on the link, which would lose it.
Result<bool> carries_others(netlink::Netlink& host, const netlink::Link& link, const std::string& but) {
  VMLANE_ASSIGN(const auto links, host.links());
  return std::ranges::any_of(links, [&](const netlink::Link& other) {
    return other.kind == "vlan" && other.peer == link.index && !other.peer_namespace_id && other.name != but;
  });
}

Result<> lower_again(const Reclaim& reclaim, netlink::Netlink& host, const BridgeNote& noted) {
  if (noted.raised.empty()) return {};
  VMLANE_ASSIGN(const auto link, host.find_link(noted.raised));
  if (!link || !link->up) return {};
  VMLANE_ASSIGN(const bool needed, carries_others(host, *link, noted.uplink));
  if (needed) return {};
  return reclaim.step("bring " + link->name + " down again",
                      [&] { return host.change_link(link->index, {.up = false}); });
}

Result<> part_uplink(const Reclaim& reclaim, netlink::Netlink& host, const netlink::Link& bridge,
                     const BridgeNote& noted) {
  VMLANE_ASSIGN(const auto link, host.find_link(noted.uplink));
  if (link && link->alias == kUplinkAlias) {
    VMLANE_TRY(reclaim.step("remove uplink " + link->name, [&] { return host.delete_link(link->index); }));
  } else if (link && link->master == bridge.index) {
    VMLANE_TRY(reclaim.step("take uplink " + link->name + " out of the bridge",
                            [&] { return host.change_link(link->index, {.master = 0}); }));
  }
  VMLANE_TRY(lower_again(reclaim, host, noted));
  const auto noted_none = note(reclaim.transaction, host, bridge, BridgeNote());
  // The bridge itself may be taken away meanwhile.
  return noted_none || noted_none.error().code == Code::kNotFound ? Result<>() : noted_none;
}

// VLANs of the uplink that nobody needs any more. The default VLAN, its PVID, is the bridge's own gift.
Result<> shed_vlans(const Reclaim& reclaim, netlink::Netlink& host, const BridgeNote& noted,
                    const std::vector<AttachmentRecord>& others) {
  VMLANE_ASSIGN(const auto link, host.find_link(noted.uplink));
  if (!link) return {};
  VMLANE_ASSIGN(const auto present, host.port_vlans(link->index));
  std::vector<netlink::PortVlans> needed;
  for (const netlink::PortVlans& entry : present) {
    if (entry.pvid || entry.untagged) needed.push_back(entry);
  }
  for (const AttachmentRecord& record : others)
    std::ranges::copy(vlans_of(record), std::back_inserter(needed));
  const auto idle = missing_vlans(present, needed);
  if (idle.empty()) return {};
  return reclaim.step("take the uplink out of VLANs " + vlans_to_text(idle),
                      [&] { return host.change_port_vlans(link->index, {.remove = idle}); });
}

}  // namespace

std::string BridgeNote::alias() const {
  std::string out(kBridgeAlias);
  if (!uplink.empty()) out += std::string(kUplinkPart) + uplink;
  if (!raised.empty()) out += std::string(kRaisedPart) + raised;
  return out;
}

BridgeNote BridgeNote::parse(const std::string& alias) {
  BridgeNote out;
  if (!alias.starts_with(kBridgeAlias)) return out;
  const auto part = [&](std::string_view key) {
    const std::size_t at = alias.find(key);
    if (at == std::string::npos) return std::string();
    const std::size_t start = at + key.size();
    return alias.substr(start, alias.find(':', start) - start);
  };
  out.uplink = part(kUplinkPart);
  out.raised = part(kRaisedPart);
  return out;
}

Result<Uplink> judge_uplink(netlink::Netlink& host, const std::string& name, std::optional<std::uint32_t> mtu,
                            const std::optional<netlink::Link>& bridge, bool own) {
  VMLANE_ASSIGN(const auto link, host.find_link(name));
  Uplink uplink;
  if (bridge && !own) {
    VMLANE_ASSIGN(uplink, judge_port_of(*bridge, name, link));
  } else if (!link) {
    VMLANE_ASSIGN(uplink, judge_vlan_to_make(host, name, bridge));
  } else {
    const bool joined = bridge && link->master == bridge->index;
    if (!joined) VMLANE_TRY(refuse_unfit(host, *link, bridge));
    uplink = {.name = name, .link = *link, .mtu = link->mtu};
    VMLANE_ASSIGN(uplink.lower, lower_of(host, *link));
  }
  VMLANE_TRY(refuse_large_mtu(uplink, mtu));
  if (!bridge || !own) return uplink;
  const std::string present = BridgeNote::parse(bridge->alias).uplink;
  if (!present.empty() && present != name) {
    return refused(name, "is another way out than " + present + ", which bridge " + bridge->name + " has",
                   "two ways out of one bridge make a loop: name " + present + ", or use another bridge");
  }
  if (bridge->mtu > uplink.mtu) {
    return refused(name,
                   "carries " + std::to_string(uplink.mtu) + " bytes, its bridge " + bridge->name + " " +
                       std::to_string(bridge->mtu),
                   "raise the uplink's MTU: ip link set " + name + " mtu " + std::to_string(bridge->mtu));
  }
  return uplink;
}

Result<netlink::Link> join_uplink(Attachment& attachment, netlink::Netlink& host, const netlink::Link& bridge,
                                  const Uplink& uplink) {
  BridgeNote noted = BridgeNote::parse(bridge.alias);
  const bool joined = uplink.link && uplink.link->master == bridge.index;
  // Put there by somebody else, who keeps it.
  if (joined && noted.uplink != uplink.name) return *uplink.link;
  noted.uplink = uplink.name;
  const std::string raised = to_be_raised(uplink);
  if (!raised.empty()) noted.raised = raised;
  VMLANE_TRY(note(attachment.transaction, host, bridge, noted));
  if (uplink.lower) VMLANE_TRY(raise(attachment, host, *uplink.lower));
  netlink::Link link;
  if (uplink.link) {
    link = *uplink.link;
  } else {
    VMLANE_ASSIGN(link, make_vlan(attachment, host, uplink));
  }
  if (!joined) {
    VMLANE_TRY(attachment.transaction.step("put uplink " + link.name + " into the bridge", [&] {
      return host.change_link(link.index, {.master = bridge.index});
    }));
  }
  VMLANE_TRY(raise(attachment, host, link));
  return link;
}

Result<> ensure_uplink_vlans(Attachment& attachment, netlink::Netlink& host, const netlink::Link& uplink,
                             const std::vector<netlink::PortVlans>& wanted, bool own) {
  VMLANE_ASSIGN(const auto present, host.port_vlans(uplink.index));
  const auto missing = missing_vlans(wanted, present);
  if (missing.empty()) return {};
  if (!own) {
    return fail(Code::kConflict,
                "uplink " + uplink.name + " does not carry VLAN " + vlans_to_text(missing) +
                    "; its bridge is not vmlane's and is left as it is",
                "add it: bridge vlan add dev " + uplink.name + " vid " + vlans_to_text({missing.front()}));
  }
  return attachment.transaction.step("put the uplink into VLANs " + vlans_to_text(missing),
                                     [&] { return host.change_port_vlans(uplink.index, {.add = missing}); });
}

Result<> release_uplink(const Reclaim& reclaim, netlink::Netlink& host, const netlink::Link& bridge,
                        const std::vector<AttachmentRecord>& others) {
  const BridgeNote noted = BridgeNote::parse(bridge.alias);
  if (noted.uplink.empty()) return {};
  const bool needed = std::ranges::any_of(others, [&](const AttachmentRecord& record) {
    return record.handles.value("uplink", "") == noted.uplink;
  });
  return needed ? shed_vlans(reclaim, host, noted, others) : part_uplink(reclaim, host, bridge, noted);
}

Result<> check_uplink(netlink::Netlink& host, const netlink::Link& bridge, const AttachmentRecord& record) {
  const std::string name = record.handles.value("uplink", "");
  if (name.empty()) return {};
  VMLANE_ASSIGN(const auto link, host.find_link(name));
  if (!link) return fail(Code::kChanged, "uplink " + name + " is gone");
  if (link->master != bridge.index)
    return fail(Code::kChanged, "uplink " + name + " is no port of bridge " + bridge.name);
  if (!link->up) return fail(Code::kChanged, "uplink " + name + " is down");
  return {};
}

}  // namespace vmlane::cni
