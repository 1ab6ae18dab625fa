// SPDX-License-Identifier: Apache-2.0
#include "policy/ask.h"

#include <algorithm>

namespace vmlane::policy {
namespace {

// One end, as a datapath finds it.
struct Found {
  std::optional<std::uint32_t> endpoint;
  vmlane_policy_peer peer{};
  bool reachable = true;
};

class Lookup {
 public:
  Lookup(const Tables& tables, const vmlane_policy_tables& block, const Probe& probe)
      : known_(tables), tables_(block), probe_(probe), network_(tables.network(probe.network)) {}

  Result<Verdict> verdict() {
    VMLANE_ASSIGN(const Found from, find(probe_.from));
    VMLANE_ASSIGN(const Found to, find(probe_.to));
    if (!from.reachable || !to.reachable) return both({.allowed = false, .reason = Reason::kUnreachable});
    if (from.endpoint && from.endpoint == to.endpoint)
      return both({.allowed = true, .reason = Reason::kItself});
    return Verdict{judge(Direction::kEgress, from, to), judge(Direction::kIngress, to, from)};
  }

 private:
  static Verdict both(const Judgement& judgement) { return {judgement, judgement}; }

  Result<Found> find(const End& end) const {
    Found found;
    if (end.pod.empty()) {
      found.peer = peer_of(end.address);
      // The tables know who an address is, not the name of the endpoint; the datapath starts from the latter.
      if (network_ && found.peer.exact != 0 && found.peer.node == 0)
        found.endpoint = known_.endpoint_of(*network_, end.address);
      return found;
    }
    const auto pod = known_.pod(end.pod, probe_.network);
    if (!pod) return fail(Code::kNotFound, "there is no pod " + end.pod);
    const auto own = std::ranges::find(pod->addresses, probe_.v6, &IpAddress::v6);
    const bool addressed = own != pod->addresses.end();
    found.reachable = pod->on_network && (addressed || (pod->addresses.empty() && !pod->host_network));
    if (addressed) found.peer = peer_of(*own);
    found.endpoint = pod->endpoint;
    if (pod->endpoint && pod->addresses.empty()) {
      const auto* facts = vmlane_policy_facts_of(&tables_, *pod->endpoint);
      if (facts != nullptr) found.peer.group = facts->group;
    }
    return found;
  }

  vmlane_policy_peer peer_of(const IpAddress& address) const {
    const auto words = address_words(address);
    return vmlane_policy_find_peer(&tables_, network_.value_or(~0U), address.v6 ? 1 : 0, words.data());
  }

  Judgement judge(Direction direction, const Found& self, const Found& other) const {
    if (!self.endpoint) return {};
    const auto* facts = vmlane_policy_facts_of(&tables_, *self.endpoint);
    const std::uint32_t node = facts == nullptr ? 0 : facts->node;
    const vmlane_policy_question question{.endpoint = *self.endpoint,
                                          .group = other.peer.group,
                                          .own_node = node != 0 && node == other.peer.node ? 1U : 0U,
                                          .port = probe_.port,
                                          .protocol = probe_.protocol,
                                          .direction = static_cast<std::uint8_t>(direction)};
    vmlane_policy_answer would{};
    const vmlane_policy_answer answer = vmlane_policy_judge_audited(&tables_, &question, &would);
    Judgement judgement;
    judgement.allowed = answer.allowed != 0;
    name(answer, judgement);
    if (judgement.allowed && would.allowed == 0) name(would, judgement.audit.emplace());
    return judgement;
  }

  // Who decided: a Judgement or an AuditDenial.
  void name(const vmlane_policy_answer& answer, auto& judgement) const {
    judgement.reason = reason_of(answer.reason);
    const bool named = judgement.reason == Reason::kRule || judgement.reason == Reason::kIsolated ||
                       judgement.reason == Reason::kTooLarge;
    if (const PolicyName* policy = known_.policy(answer.policy); named && policy != nullptr) {
      judgement.kind = policy->kind;
      judgement.policy = policy->id;
    }
    if (judgement.reason == Reason::kRule) judgement.rule = answer.rule;
  }

  static Reason reason_of(std::uint32_t reason) {
    switch (reason) {
      case VMLANE_POLICY_NOT_ISOLATED:
        return Reason::kNotIsolated;
      case VMLANE_POLICY_BY_RULE:
        return Reason::kRule;
      case VMLANE_POLICY_ISOLATED:
        return Reason::kIsolated;
      case VMLANE_POLICY_OWN_NODE:
        return Reason::kOwnNode;
      case VMLANE_POLICY_TOO_LARGE:
        return Reason::kTooLarge;
      default:
        return Reason::kBroken;
    }
  }

  const Tables& known_;
  const vmlane_policy_tables& tables_;
  const Probe& probe_;
  std::optional<std::uint32_t> network_;
};

}  // namespace

Result<Verdict> ask_block(const Tables& tables, const vmlane_policy_tables& block, const Probe& probe) {
  return Lookup(tables, block, probe).verdict();
}

}  // namespace vmlane::policy
