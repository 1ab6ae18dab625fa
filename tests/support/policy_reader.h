// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "core/address.h"

namespace vmlane::test {

// A reader of a policy block, as a datapath is one: it knows endpoints by number and peers by
// their address on its network.
struct PolicyQuestion {
  std::uint32_t endpoint = 0;
  std::uint32_t v6 = 0;
  std::array<std::uint32_t, 4> peer{};
  std::uint16_t port = 0;
  std::uint8_t protocol = 0;
  std::uint8_t direction = 0;
};

struct PolicyAnswer {
  std::uint32_t allowed = 0;
  std::uint32_t reason = 0;
  std::uint32_t policy = 0;
  std::uint32_t rule = 0;
  bool operator==(const PolicyAnswer&) const = default;
};

std::string text_of(const PolicyAnswer& answer);

// An address as it stands in a question.
std::array<std::uint32_t, 4> question_words(const IpAddress& address);
// Questions about the endpoints and addresses of a PolicyWorld.
std::vector<PolicyQuestion> policy_questions(std::mt19937& random, std::size_t count);
PolicyAnswer policy_answer(std::span<const std::uint64_t> block, const PolicyQuestion& question);
std::vector<PolicyAnswer> policy_answers(std::span<const std::uint64_t> block,
                                         const std::vector<PolicyQuestion>& questions);

}  // namespace vmlane::test
