// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "policy/peers.h"

// The rules of one endpoint in one direction as rows of bits. Internal to this room.
namespace vmlane::policy {

// The block under construction: parts are added whole, at offsets that their readers may ask for.
class BlockWriter {
 public:
  // Adds zeroed bytes, aligned to `alignment` (8 to 64); gives their offset.
  std::uint32_t reserve(std::size_t bytes, std::size_t alignment);
  template <class Part>
  Part& at(std::uint32_t offset) {
    return *reinterpret_cast<Part*>(reinterpret_cast<char*>(words_.data()) + offset);
  }
  std::size_t size() const { return words_.size() * sizeof(std::uint64_t); }
  std::vector<std::uint64_t> take() { return std::move(words_); }

 private:
  std::vector<std::uint64_t> words_;
};

// A policy and the number that tables give it.
struct NumberedPolicy {
  const Policy* policy = nullptr;
  std::uint32_t number = 0;
};

// Writes the profile of an endpoint that `policies` select, in the order in which they are asked; 0 when they
// say nothing. `own_ports` are the endpoint's named ports. A policy past a limit is named in `too_large`,
// with why.
struct ProfileResult {
  std::uint32_t offset = 0;
  const Policy* too_large = nullptr;
  std::string why;
};
ProfileResult write_profile(BlockWriter& block, const PeerGroups& groups, Direction direction,
                            const std::vector<NumberedPolicy>& policies,
                            const std::vector<NamedPort>& own_ports);

}  // namespace vmlane::policy
