// SPDX-License-Identifier: Apache-2.0
#include "tests/support/policy_reader.h"

#include "policy/verdict.h"

namespace vmlane::test {

std::string text_of(const PolicyAnswer& answer) {
  return std::string(answer.allowed != 0 ? "allowed" : "denied") + ", reason " +
         std::to_string(answer.reason) + ", policy " + std::to_string(answer.policy) + ", rule " +
         std::to_string(answer.rule);
}

std::array<std::uint32_t, 4> question_words(const IpAddress& address) {
  std::array<std::uint32_t, 4> words{};
  for (std::size_t i = 0; i < address.bytes.size(); i++) words[i / 4] = words[i / 4] << 8 | address.bytes[i];
  return words;
}

std::vector<PolicyQuestion> policy_questions(std::mt19937& random, std::size_t count) {
  constexpr std::uint32_t kEndpoints = 26;  // of nine pods on three networks
  constexpr std::uint32_t kV4 = 0xc0000200;
  constexpr std::uint32_t kV6 = 0x20010db8;
  constexpr std::array<std::uint8_t, 4> kProtocols = {6, 17, 132, 1};
  const auto below = [&](std::uint32_t bound) { return static_cast<std::uint32_t>(random() % bound); };
  std::vector<PolicyQuestion> questions;
  for (std::size_t i = 0; i < count; i++) {
    PolicyQuestion question{.endpoint = below(kEndpoints)};
    question.v6 = below(3) == 0 ? 1 : 0;
    const std::uint32_t last = below(24);
    // As written in decimal in an IPv6 address.
    question.peer = question.v6 != 0 ? std::array<std::uint32_t, 4>{kV6, 0, 0, last / 10 * 16 + last % 10}
                                     : std::array<std::uint32_t, 4>{kV4 + last, 0, 0, 0};
    question.protocol = kProtocols.at(below(4));
    question.port = question.protocol == 1 ? 0 : static_cast<std::uint16_t>(79 + below(8));
    question.direction = static_cast<std::uint8_t>(below(2));
    questions.push_back(question);
  }
  return questions;
}

PolicyAnswer policy_answer(std::span<const std::uint64_t> block, const PolicyQuestion& question) {
  const vmlane_policy_tables tables{block.data(), static_cast<std::uint32_t>(block.size_bytes())};
  const auto* endpoint = vmlane_policy_endpoint_of(&tables, question.endpoint);
  const std::uint32_t network = endpoint == nullptr ? 0 : endpoint->network;
  const auto peer = vmlane_policy_find_peer(&tables, network, question.v6, question.peer.data());
  const auto* facts = vmlane_policy_facts_of(&tables, question.endpoint);
  const vmlane_policy_question asked{
      .endpoint = question.endpoint,
      .group = peer.group,
      .own_node = facts != nullptr && facts->node != 0 && facts->node == peer.node ? 1U : 0U,
      .port = question.port,
      .protocol = question.protocol,
      .direction = question.direction};
  const auto answer = vmlane_policy_judge(&tables, &asked);
  return {answer.allowed, answer.reason, answer.policy, answer.rule};
}

std::vector<PolicyAnswer> policy_answers(std::span<const std::uint64_t> block,
                                         const std::vector<PolicyQuestion>& questions) {
  std::vector<PolicyAnswer> answers;
  answers.reserve(questions.size());
  for (const PolicyQuestion& question : questions) answers.push_back(policy_answer(block, question));
  return answers;
}

}  // namespace vmlane::test
