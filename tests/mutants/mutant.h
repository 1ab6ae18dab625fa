/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a mutant's file: its verdict.h stands above, its name is VMLANE_MUTANT. */
/* NOLINTBEGIN(readability-identifier-naming,llvm-header-guard) */
#include "tests/mutants/mutants.h"

vmlane_mutant VMLANE_MUTANT;

struct vmlane_mutant_answer VMLANE_MUTANT(const void* block, uint32_t size,
                                          const struct vmlane_mutant_question* question) {
  const struct vmlane_policy_tables tables = {block, size};
  const struct vmlane_policy_endpoint* endpoint = vmlane_policy_endpoint_of(&tables, question->endpoint);
  const struct vmlane_policy_facts* facts = vmlane_policy_facts_of(&tables, question->endpoint);
  const struct vmlane_policy_peer peer =
      vmlane_policy_find_peer(&tables, endpoint ? endpoint->network : 0, question->v6, question->peer);
  const struct vmlane_policy_question asked = {.endpoint = question->endpoint,
                                               .group = peer.group,
                                               .own_node = facts && facts->node && facts->node == peer.node,
                                               .port = (uint16_t)question->port,
                                               .protocol = (uint8_t)question->protocol,
                                               .direction = (uint8_t)question->direction};
  const struct vmlane_policy_answer answer = vmlane_policy_judge(&tables, &asked);
  const struct vmlane_mutant_answer told = {answer.allowed, answer.reason, answer.policy, answer.rule};
  return told;
}
/* NOLINTEND(readability-identifier-naming,llvm-header-guard) */
