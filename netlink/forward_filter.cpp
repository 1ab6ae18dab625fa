// SPDX-License-Identifier: Apache-2.0
#include "netlink/forward_filter.h"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include <algorithm>

#include "core/files.h"
#include "netlink/kernel_netlink.h"
#include "netlink/legacy_filter.h"
#include "netlink/nftables.h"

namespace vmlane::netlink {
namespace {

std::string comment_for(const std::string& bridge) {
  return "vmlane:" + bridge;
}

bool is_ours(const NftRuleEntry& rule, const std::string& bridge) {
  return rule.comment == comment_for(bridge);
}

NftChain nft_chain(const ForwardChain& chain) {
  NftFamily family = NftFamily::kInet;
  for (const NftFamily candidate : {NftFamily::kIp, NftFamily::kIp6}) {
    if (to_string(candidate) == chain.family) family = candidate;
  }
  return {{family, chain.table}, chain.name};
}

std::string subject(const ForwardChain& chain) {
  return "chain " + chain.name + " of table " + chain.family + " " + chain.table;
}

Result<std::optional<std::uint8_t>> own_switch(const Namespace& network_namespace, const std::string& bridge,
                                               bool v6) {
  VMLANE_ASSIGN(Socket socket, Socket::open(network_namespace));
  VMLANE_ASSIGN(const auto link, get_link(socket, bridge));
  if (!link) return std::nullopt;
  const auto info = link->attributes<ifinfomsg>(IFLA_MAX).nested(IFLA_LINKINFO, IFLA_INFO_MAX);
  if (info.string(IFLA_INFO_KIND) != "bridge") return std::nullopt;
  return info.nested(IFLA_INFO_DATA, IFLA_BR_MAX)
      .u8(v6 ? IFLA_BR_NF_CALL_IP6TABLES : IFLA_BR_NF_CALL_IPTABLES);
}

Result<> append_nft_chains(Nftables& nftables, const std::string& bridge, std::vector<ForwardChain>& found) {
  VMLANE_ASSIGN(const auto chains, nftables.base_chains(NftPoint::kForward));
  for (const NftBaseChain& base : chains) {
    VMLANE_ASSIGN(const auto rules, nftables.rules(base.chain));
    const bool accepts =
        std::ranges::any_of(rules, [&](const NftRuleEntry& rule) { return is_ours(rule, bridge); });
    if (!base.drops && !accepts) continue;
    found.push_back({.family = to_string(base.chain.table.family),
                     .table = base.chain.table.name,
                     .name = base.chain.name,
                     .drops = base.drops,
                     .accepts = accepts,
                     .obstacle = {}});
  }
  return {};
}

Result<std::optional<ForwardChain>> legacy_chain(bool v6, const std::string& bridge) {
  VMLANE_ASSIGN(const LegacyForward forward, legacy_forward(v6, comment_for(bridge)));
  if (!forward.drops && !forward.accepts) return std::nullopt;
  VMLANE_ASSIGN(const auto program, legacy_program(v6));
  const std::string family = v6 ? "ip6" : "ip";
  return ForwardChain{
      .family = family,
      .table = "filter",
      .name = "FORWARD",
      .legacy = true,
      .drops = forward.drops,
      .accepts = forward.accepts,
      .obstacle =
          program ? "" : std::string("the node has no program ip") + (v6 ? "6" : "") + "tables-legacy"};
}

}  // namespace

Result<std::optional<std::string>> bridge_netfilter_switch(const Namespace& network_namespace,
                                                           const std::string& bridge, bool v6) {
  const std::string name = std::string("bridge-nf-call-") + (v6 ? "ip6tables" : "iptables");
  VMLANE_ASSIGN(const auto value, network_namespace.run<std::optional<std::string>>(
                                      [&] { return read_file("/proc/sys/net/bridge/" + name); }));
  // Without the module there is no such file, and the bridge's own switch leads nowhere.
  if (!value) return std::nullopt;
  if (!value->starts_with('0')) return "sysctl net.bridge." + name + " is 1";
  VMLANE_ASSIGN(const auto own, own_switch(network_namespace, bridge, v6));
  if (own.value_or(0) == 0) return std::nullopt;
  return std::string("nf_call_") + (v6 ? "ip6tables" : "iptables") + " of bridge " + bridge + " is 1";
}

Result<std::vector<ForwardChain>> forward_chains(const Namespace& network_namespace,
                                                 const std::string& bridge) {
  std::vector<ForwardChain> found;
  auto nftables = Nftables::open(network_namespace);
  if (nftables) VMLANE_TRY(append_nft_chains(*nftables, bridge, found));
  if (!nftables && nftables.error().code != Code::kNotFound) return fail(nftables.error());
  for (const bool v6 : {false, true}) {
    VMLANE_ASSIGN(auto chain, network_namespace.run<std::optional<ForwardChain>>(
                                  [&] { return legacy_chain(v6, bridge); }));
    if (chain) found.push_back(std::move(*chain));
  }
  return found;
}

Result<> accept_bridged(const Namespace& network_namespace, const ForwardChain& chain,
                        const std::string& bridge) {
  if (chain.legacy)
    return network_namespace.run<void>(
        [&] { return accept_in_legacy(chain.family == "ip6", bridge, comment_for(bridge)); });
  VMLANE_ASSIGN(Nftables nftables, Nftables::open(network_namespace));
  const NftChain where = nft_chain(chain);
  const NftRule rule{
      .in_link = bridge, .out_link = bridge, .action = NftVerdict::kAccept, .comment = comment_for(bridge)};
  return nftables.update(where.table, "accept what bridge " + bridge + " forwards in " + subject(chain),
                         [&](NftBatch& batch) -> Result<> {
                           VMLANE_ASSIGN(const auto rules, nftables.rules(where));
                           const bool there = std::ranges::any_of(
                               rules, [&](const NftRuleEntry& entry) { return is_ours(entry, bridge); });
                           if (!there) batch.insert_rule(where.name, rule);
                           return {};
                         });
}

Result<> withdraw_accept(const Namespace& network_namespace, const ForwardChain& chain,
                         const std::string& bridge) {
  if (chain.legacy)
    return network_namespace.run<void>(
        [&] { return withdraw_from_legacy(chain.family == "ip6", bridge, comment_for(bridge)); });
  VMLANE_ASSIGN(Nftables nftables, Nftables::open(network_namespace));
  const NftChain where = nft_chain(chain);
  return nftables.update(where.table, "remove the rule for bridge " + bridge + " from " + subject(chain),
                         [&](NftBatch& batch) -> Result<> {
                           VMLANE_ASSIGN(const auto rules, nftables.rules(where));
                           for (const NftRuleEntry& entry : rules) {
                             if (is_ours(entry, bridge)) batch.delete_rule(where.name, entry.handle);
                           }
                           return {};
                         });
}

}  // namespace vmlane::netlink
