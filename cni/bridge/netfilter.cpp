// SPDX-License-Identifier: Apache-2.0
#include "cni/bridge/netfilter.h"

#include <algorithm>
#include <array>

#include "cni/bridge/bridge.h"

namespace vmlane::cni {
namespace {

// In the record: the attachment counts on our rules for its bridge.
constexpr const char* kAcceptHandle = "bridge_accept";

struct Families {
  bool v4 = false;
  bool v6 = false;

  void add(bool is_v6) { (is_v6 ? v6 : v4) = true; }
  // Nobody knows what a workload without addresses from us will speak.
  Families or_both() const { return v4 || v6 ? *this : Families{true, true}; }
  bool has(bool is_v6) const { return is_v6 ? v6 : v4; }
};

// A chain that drops what the bridge forwards, and what leads the frames there.
struct Drop {
  std::string cause;
  netlink::ForwardChain chain;
};

struct Findings {
  std::vector<Drop> drops;
  bool accepted = false;  // a chain would drop but for our rule
};

Families families_of(const std::vector<ResultIp>& ips) {
  Families families;
  for (const ResultIp& ip : ips) families.add(ip.address.address.v6);
  return families.or_both();
}

// Of every address and prefix that an IPAM config names, under whatever key.
void collect_families(const Json& json, Families& families) {
  if (json.is_structured()) {
    for (const Json& part : json) collect_families(part, families);
  }
  if (!json.is_string()) return;
  const auto& text = json.get_ref<const std::string&>();
  if (const auto prefix = IpPrefix::parse(text)) families.add(prefix->address.v6);
  if (const auto address = IpAddress::parse(text)) families.add(address->v6);
}

bool sees(const netlink::ForwardChain& chain, bool v6) {
  return chain.family == "inet" || chain.family == (v6 ? "ip6" : "ip");
}

std::string name_of(const netlink::ForwardChain& chain) {
  return "chain " + chain.name + " of table " + chain.family + " " + chain.table +
         (chain.legacy ? " (iptables-legacy)" : "");
}

Result<Findings> look(Kernel& kernel, const netlink::Namespace& host, const std::string& bridge,
                      const Families& families) {
  std::array<std::optional<std::string>, 2> causes;
  for (const bool v6 : {false, true}) {
    if (!families.has(v6)) continue;
    VMLANE_ASSIGN(causes[v6 ? 1 : 0], kernel.bridge_netfilter_switch(host, bridge, v6));
  }
  Findings findings;
  if (!causes[0] && !causes[1]) return findings;
  VMLANE_ASSIGN(const auto chains, kernel.forward_chains(host, bridge));
  for (const netlink::ForwardChain& chain : chains) {
    const bool v4 = causes[0] && sees(chain, false);
    const bool v6 = causes[1] && sees(chain, true);
    if (!chain.drops || (!v4 && !v6)) continue;
    findings.accepted = findings.accepted || chain.accepts;
    if (!chain.accepts) findings.drops.push_back({v4 ? *causes[0] : *causes[1], chain});
  }
  return findings;
}

std::string text_of(const std::string& bridge, const std::vector<Drop>& drops) {
  std::string text = "the node's firewall drops what bridge " + bridge + " forwards: ";
  for (const Drop& drop : drops) {
    if (&drop != &drops.front()) text += "; ";
    text += drop.cause + " and " + name_of(drop.chain) + " has policy drop";
  }
  return text;
}

Error dropped(Code code, const std::string& bridge, const std::vector<Drop>& drops) {
  return {code, text_of(bridge, drops),
          "switch that off (0), or set key \"bridgeNetfilter\" to \"accept\", which adds a rule for the "
          "bridge to such a chain, or to \"ignore\" if rules of yours accept the frames",
          nullptr};
}

// What "accept" cannot help.
Result<> refuse_unchangeable(Code code, const std::string& bridge, const std::vector<Drop>& drops) {
  const auto found =
      std::ranges::find_if(drops, [](const Drop& drop) { return !drop.chain.obstacle.empty(); });
  if (found == drops.end()) return {};
  return fail(code,
              text_of(bridge, {*found}) +
                  ", where key \"bridgeNetfilter\" cannot add a rule: " + found->chain.obstacle,
              "install it, or switch that off (0), or accept the frames there yourself and set the key to "
              "\"ignore\"");
}

bool counts_on_rules(const AttachmentRecord& record) {
  return record.handles.is_object() && record.handles.value(kAcceptHandle, false);
}

// A rule that a neighbour put there serves this attachment as well, and must stay when the neighbour goes.
Result<> share_rules(Attachment& attachment) {
  return attachment.transaction.step("count on the accept rules of the bridge", [&] {
    attachment.record.handles[kAcceptHandle] = true;
    return RecordStore(attachment.node.config).write(attachment.record);
  });
}

}  // namespace

Result<BridgeNetfilter> parse_bridge_netfilter(ObjectReader& reader) {
  VMLANE_ASSIGN(const std::string mode, reader.text("bridgeNetfilter"));
  if (mode.empty() || mode == "fail") return BridgeNetfilter::kFail;
  if (mode == "accept") return BridgeNetfilter::kAccept;
  if (mode == "ignore") return BridgeNetfilter::kIgnore;
  return reader.wrong("bridgeNetfilter", R"("fail", "accept" or "ignore")");
}

void plan_bridge_netfilter(AttachmentRecord& record, BridgeNetfilter mode) {
  if (mode == BridgeNetfilter::kAccept) record.handles[kAcceptHandle] = true;
}

Result<> settle_bridge_netfilter(Attachment& attachment, const std::string& bridge, BridgeNetfilter mode,
                                 const CniResult& result) {
  Kernel& kernel = attachment.node.kernel;
  VMLANE_ASSIGN(const Findings findings, look(kernel, attachment.host, bridge, families_of(result.ips)));
  if (mode == BridgeNetfilter::kIgnore) {
    if (!findings.drops.empty())
      attachment.node.log.info("ignored as configured", {{"why", text_of(bridge, findings.drops)}});
    return {};
  }
  if (mode == BridgeNetfilter::kFail) {
    if (!findings.drops.empty()) return fail(dropped(Code::kConflict, bridge, findings.drops));
    return findings.accepted ? share_rules(attachment) : Result<>();
  }
  VMLANE_TRY(refuse_unchangeable(Code::kConflict, bridge, findings.drops));
  for (const Drop& drop : findings.drops) {
    VMLANE_TRY(attachment.transaction.step("accept what the bridge forwards in " + name_of(drop.chain), [&] {
      return kernel.accept_bridged(attachment.host, drop.chain, bridge);
    }));
  }
  return {};
}

Result<> check_bridge_netfilter(const Inspection& inspection, BridgeNetfilter mode) {
  if (mode == BridgeNetfilter::kIgnore) return {};
  const Node& node = inspection.node;
  const std::string bridge = inspection.record.handles.value("bridge", "");
  VMLANE_ASSIGN(const CniResult result,
                CniResult::from_json(inspection.record.result, kNewestVersion, "recorded result"));
  VMLANE_ASSIGN(const Findings findings, look(node.kernel, inspection.host, bridge, families_of(result.ips)));
  if (findings.drops.empty()) return {};
  if (mode == BridgeNetfilter::kFail || !counts_on_rules(inspection.record))
    return fail(dropped(Code::kChanged, bridge, findings.drops));
  VMLANE_TRY(refuse_unchangeable(Code::kChanged, bridge, findings.drops));
  VMLANE_ASSIGN(const auto lock, lock_bridge(node.config, bridge));
  for (const Drop& drop : findings.drops) {
    node.log.warning("the rule that accepts what the bridge forwards is not there; it is put in",
                     {{"bridge", bridge}, {"chain", name_of(drop.chain)}});
    VMLANE_TRY(node.kernel.accept_bridged(inspection.host, drop.chain, bridge));
  }
  return {};
}

Result<> release_bridge_netfilter(const Reclaim& reclaim, const std::string& bridge) {
  if (reclaim.record != nullptr && !counts_on_rules(*reclaim.record)) return {};
  return reclaim.step("withdraw the accept rules of the bridge", [&]() -> Result<> {
    VMLANE_ASSIGN(const auto lock, lock_bridge(reclaim.node.config, bridge));
    const auto others = others_to_spare(reclaim, bridge);
    if (!others || std::ranges::any_of(*others, counts_on_rules)) return {};
    VMLANE_ASSIGN(const auto chains, reclaim.node.kernel.forward_chains(reclaim.host, bridge));
    for (const netlink::ForwardChain& chain : chains) {
      if (!chain.accepts) continue;
      if (chain.obstacle.empty())
        VMLANE_TRY(reclaim.node.kernel.withdraw_accept(reclaim.host, chain, bridge));
      else  // a pod that cannot be removed would be worse
        reclaim.node.log.warning("the rule that accepts what the bridge forwards stays",
                                 {{"bridge", bridge}, {"chain", name_of(chain)}, {"why", chain.obstacle}});
    }
    return {};
  });
}

Result<> bridge_netfilter_status(const Node& node, const netlink::Namespace& host, const std::string& bridge,
                                 BridgeNetfilter mode, const Json& config) {
  if (mode == BridgeNetfilter::kIgnore) return {};
  Families named;
  if (const auto ipam = config.find("ipam"); ipam != config.end()) collect_families(*ipam, named);
  VMLANE_ASSIGN(const Findings findings, look(node.kernel, host, bridge, named.or_both()));
  if (findings.drops.empty()) return {};
  if (mode == BridgeNetfilter::kAccept)
    return refuse_unchangeable(Code::kNotAvailable, bridge, findings.drops);
  return fail(dropped(Code::kNotAvailable, bridge, findings.drops));
}

}  // namespace vmlane::cni
