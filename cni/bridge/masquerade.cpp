// SPDX-License-Identifier: Apache-2.0
#include "cni/bridge/masquerade.h"

#include <algorithm>

namespace vmlane::cni {
namespace {

// In the record: the addresses, a list that is empty until they are known.
constexpr const char* kMasqueradeHandle = "masquerade";

bool is_masqueraded(const AttachmentRecord& record) {
  return record.handles.is_object() && record.handles.contains(kMasqueradeHandle);
}

// Off means that no answer comes back, unless the uplink forwards by its own switch.
Result<> warn_without_forwarding(const Attachment& attachment, bool v6) {
  const std::string family = v6 ? "ipv6" : "ipv4";
  VMLANE_ASSIGN(const auto value,
                attachment.node.kernel.read_link_sysctl(attachment.host, family, "all", "forwarding"));
  if (value && *value == "0") {
    attachment.node.log.warning(
        "key \"ipMasq\" is true, but the node does not forward: answers reach the workload only by uplinks "
        "that have forwarding on",
        {{"sysctl", "net." + family + ".conf.all.forwarding"}});
  }
  return {};
}

Result<netlink::Masquerade> recorded(const AttachmentRecord& record) {
  netlink::Masquerade masquerade{.owner = record.key.id(), .addresses = {}};
  for (const Json& text : record.handles[kMasqueradeHandle]) {
    if (!text.is_string()) return fail(Code::kDecode, "record: \"masquerade\" holds " + to_text(text));
    VMLANE_ASSIGN(const IpPrefix address, IpPrefix::parse(text.get_ref<const std::string&>()));
    masquerade.addresses.push_back(address);
  }
  return masquerade;
}

}  // namespace

Result<bool> parse_ip_masq(ObjectReader& reader, bool has_ipam) {
  VMLANE_ASSIGN(const auto masquerade, reader.boolean("ipMasq"));
  VMLANE_ASSIGN(const std::string name, reader.text("ipMasqBackend"));
  if (!name.empty() && name != "nftables" && name != "iptables")
    return reader.wrong("ipMasqBackend", "\"nftables\"");
  if (!masquerade.value_or(false)) return false;
  if (name == "iptables") {
    return fail(Code::kUnsupportedField,
                "key \"ipMasqBackend\" is \"iptables\", addresses are translated by nftables only",
                "remove the key; rules that iptables manages are not touched by it");
  }
  if (!has_ipam) {
    return fail(Code::kInvalidConfig, "key \"ipMasq\" is true without \"ipam\"",
                "the addresses to translate come from the IPAM result");
  }
  return true;
}

void plan_masquerade(AttachmentRecord& record) {
  record.handles[kMasqueradeHandle] = Json::array();
}

Result<> add_masquerade(Attachment& attachment, const CniResult& result) {
  netlink::Masquerade masquerade{.owner = attachment.record.key.id(), .addresses = {}};
  for (const ResultIp& ip : result.ips) {
    masquerade.addresses.push_back(ip.address);
    attachment.record.handles[kMasqueradeHandle].push_back(ip.address.to_string());
  }
  VMLANE_TRY(attachment.transaction.step("masquerade what leaves the subnet", [&] {
    return attachment.node.kernel.set_masquerade(attachment.host, masquerade);
  }));
  for (const bool v6 : {false, true}) {
    const bool wanted = std::ranges::any_of(
        masquerade.addresses, [v6](const IpPrefix& address) { return address.address.v6 == v6; });
    if (wanted) VMLANE_TRY(warn_without_forwarding(attachment, v6));
  }
  return {};
}

Result<> check_masquerade(const Inspection& inspection) {
  if (!is_masqueraded(inspection.record)) return {};
  Kernel& kernel = inspection.node.kernel;
  VMLANE_ASSIGN(const netlink::Masquerade masquerade, recorded(inspection.record));
  VMLANE_ASSIGN(const bool there, kernel.has_masquerade(inspection.host, masquerade));
  if (there) return {};
  inspection.node.log.warning("somebody removed the masquerading of the attachment; it is put back",
                              {{"table", "inet vmlane"}});
  return kernel.set_masquerade(inspection.host, masquerade);
}

Result<> remove_masquerade(const Reclaim& reclaim) {
  if (reclaim.record != nullptr && !is_masqueraded(*reclaim.record)) return {};
  return reclaim.step("remove the masquerading",
                      [&] { return reclaim.node.kernel.remove_masquerade(reclaim.host, reclaim.key.id()); });
}

}  // namespace vmlane::cni
