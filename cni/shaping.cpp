// SPDX-License-Identifier: Apache-2.0
#include "cni/shaping.h"

#include "core/names.h"

namespace vmlane::cni {
namespace {

constexpr const char* kHandle = "shaper";

// Known from the request that makes the ifb on, before it has its alias.
MacAddress shaper_mac(const std::string& attachment_id) {
  return MacAddress::derived("shaper\n" + attachment_id);
}

Result<std::optional<netlink::Link>> find_shaper(netlink::Netlink& place, const std::string& attachment_id) {
  VMLANE_ASSIGN(auto link, place.find_link(names::shaper_link(attachment_id)));
  if (link && link->kind == "ifb" && link->mac == shaper_mac(attachment_id)) return link;
  return std::nullopt;
}

Result<netlink::Link> make_shaper(Attachment& attachment, netlink::Netlink& place, std::uint32_t mtu) {
  const std::string id = attachment.record.key.id();
  const netlink::IfbSpec spec{.name = names::shaper_link(id), .mac = shaper_mac(id), .mtu = mtu};
  VMLANE_TRY(attachment.transaction.step("make ifb " + spec.name, [&] { return place.create_ifb(spec); }));
  attachment.record.handles[kHandle] = spec.name;
  VMLANE_ASSIGN(const auto link, place.find_link(spec.name));
  if (!link) return fail(Code::kKernel, "ifb " + spec.name + " vanished while it was being set up");
  const netlink::LinkChange identity{.alias = names::link_alias(id, attachment.node.boot_id),
                                     .no_ipv6_address_generation = true};
  VMLANE_TRY(attachment.transaction.step("name the owner of the ifb",
                                         [&] { return place.change_link(link->index, identity); }));
  return *link;
}

}  // namespace

Result<> limit_sent(Attachment& attachment, netlink::Netlink& place, const netlink::Link& link,
                    const netlink::RateLimit& limit) {
  if (limit.bits_per_second == 0) return {};
  return attachment.transaction.step("limit what " + link.name + " sends",
                                     [&] { return place.limit_egress(link.index, limit); });
}

Result<> limit_received(Attachment& attachment, netlink::Netlink& place, const netlink::Link& link,
                        const netlink::RateLimit& limit) {
  if (limit.bits_per_second == 0) return {};
  VMLANE_ASSIGN(const netlink::Link shaper, make_shaper(attachment, place, link.mtu));
  VMLANE_TRY(limit_sent(attachment, place, shaper, limit));
  VMLANE_TRY(attachment.transaction.step("bring the ifb up",
                                         [&] { return place.change_link(shaper.index, {.up = true}); }));
  return attachment.transaction.step("limit what " + link.name + " receives",
                                     [&] { return place.redirect_received(link.index, shaper.index); });
}

Result<> remove_limits(const Reclaim& reclaim, const netlink::Namespace& where) {
  VMLANE_ASSIGN(const auto place, reclaim.node.kernel.netlink(where));
  VMLANE_ASSIGN(const auto shaper, find_shaper(*place, reclaim.key.id()));
  if (!shaper) return {};
  return reclaim.remove_link("remove the ifb", where, shaper->index);
}

Result<> check_limits(const Inspection& inspection, netlink::Netlink& place) {
  const std::string name = inspection.record.handles.value(kHandle, "");
  if (name.empty()) return {};
  VMLANE_ASSIGN(const auto shaper, find_shaper(place, inspection.record.key.id()));
  if (shaper && shaper->up) return {};
  return fail(Code::kChanged,
              "ifb " + name + ", which limits the rate of the workload, is " + (shaper ? "down" : "gone"));
}

}  // namespace vmlane::cni
