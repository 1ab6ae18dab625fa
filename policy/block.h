// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "policy/pages.h"
#include "policy/store.h"
#include "policy/verdict.h"

// The writer's copy of the block of verdict.h. Internal to this room.
namespace vmlane::policy {

// Bytes that its parts are multiples of.
constexpr std::size_t kLine = VMLANE_POLICY_LINE;

// While it is built it grows. Once it has been published it keeps its size, and what is written is recorded
// for the phases of the next publication (store.h). All parts are whole lines.
class Block {
 public:
  static constexpr std::size_t kMaxBytes = std::size_t{2} << 30;  // what offsets can say
  explicit Block(std::size_t max_bytes = kMaxBytes) : max_bytes_(max_bytes) {}

  // What readers can reach changes in one of these.
  enum class Turn : std::uint8_t { kPeers = 1, kEndpoints = 2 };

  // Offset of zeroed bytes that nothing leads to; the closed profile's when the block is outgrown.
  std::uint32_t reserve(std::size_t bytes);
  // Gives bytes back that nothing will lead to once this publication is through.
  void release(std::uint32_t offset, std::size_t bytes);

  template <class Part>
  Part& at(std::uint32_t offset) {
    return *reinterpret_cast<Part*>(reinterpret_cast<char*>(words_.data()) + offset);
  }
  template <class Part>
  const Part& at(std::uint32_t offset) const {
    return *reinterpret_cast<const Part*>(reinterpret_cast<const char*>(words_.data()) + offset);
  }
  // After bytes have been written by at() that nothing leads to yet.
  void touch(std::uint32_t offset, std::size_t bytes);
  // Writes a number that readers reach, in its turn.
  void set(Turn turn, std::uint32_t offset, std::uint32_t value);
  void set(Turn turn, std::uint32_t offset, std::uint64_t value);
  // What readers see at `offset` until the next publication, when set() has written there.
  std::optional<std::uint64_t> before(std::uint32_t offset) const {
    const auto found = changes_.find(offset / kWord);
    return found == changes_.end() ? std::nullopt : std::optional(found->second.before);
  }

  // Ends the building: from now on there is room for `spare` more bytes.
  void publish(std::size_t spare);
  bool published() const { return published_; }
  // Something had no room: the block can only be thrown away.
  bool outgrown() const { return outgrown_; }
  void set_outgrown() { outgrown_ = true; }

  std::vector<Phase> take_phases();
  std::span<const std::uint64_t> words() const { return words_.all(); }

  // The profile of endpoints that get nothing through, right behind the header.
  static constexpr std::uint32_t kClosed = VMLANE_POLICY_LINE;

 private:
  static constexpr std::uint32_t kWord = sizeof(std::uint64_t);
  struct Changed {
    Turn turn;
    std::uint64_t before;
  };

  void record(Turn turn, std::uint32_t offset);
  // The lines as they are after `turn`.
  Phase lines_after(std::vector<std::uint32_t> lines, std::uint8_t turn) const;
  std::optional<std::uint32_t> take_free(std::size_t lines);

  std::size_t max_bytes_;
  ZeroPages words_;
  std::size_t used_ = 0;  // bytes
  bool published_ = false;
  bool outgrown_ = false;
  std::vector<std::uint32_t> touched_;                  // lines
  std::unordered_map<std::uint32_t, Changed> changes_;  // by word
  std::multimap<std::size_t, std::uint32_t> free_;      // by number of lines: offset
  std::vector<std::pair<std::size_t, std::uint32_t>> released_;
};

}  // namespace vmlane::policy
