// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "netlink/namespace.h"

// What a node's firewall does to frames that a bridge forwards. With br_netfilter switched on they pass the
// forward hook of ip and ip6 as if they were routed, and a chain there whose policy is "drop" loses them
// without a word. Chains are judged by hook and policy alone; of their rules only ours is looked for, by its
// comment "vmlane:<bridge>".
namespace vmlane::netlink {

// A chain at the forward hook whose policy is "drop", or that has our rule for the bridge.
struct ForwardChain {
  std::string family;  // "ip", "ip6", "inet"
  std::string table;
  std::string name;
  bool legacy = false;   // of iptables-legacy, which nf_tables does not show
  bool drops = false;    // what no rule decides about
  bool accepts = false;  // has our rule for the bridge
  // Why accept_bridged() and withdraw_accept() cannot change it: of iptables-legacy, whose program the node
  // does not have. Empty: they can.
  std::string obstacle;
};

// What hands frames of one family that the bridge forwards to the firewall: "sysctl net.bridge.bridge-nf-...
// is 1", or the like for the bridge's own switch; no value when nothing does. The bridge need not exist.
Result<std::optional<std::string>> bridge_netfilter_switch(const Namespace& network_namespace,
                                                           const std::string& bridge, bool v6);

// Looking at iptables-legacy never loads its modules.
Result<std::vector<ForwardChain>> forward_chains(const Namespace& network_namespace,
                                                 const std::string& bridge);

// Puts our rule, which accepts what comes from and goes to the bridge, at the chain's head, once.
Result<> accept_bridged(const Namespace& network_namespace, const ForwardChain& chain,
                        const std::string& bridge);
// Takes it out again; gone already is success.
Result<> withdraw_accept(const Namespace& network_namespace, const ForwardChain& chain,
                         const std::string& bridge);

}  // namespace vmlane::netlink
