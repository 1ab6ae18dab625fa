// SPDX-License-Identifier: Apache-2.0
#include "policy/block.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

namespace vmlane::policy {
namespace {

std::size_t lines_of(std::size_t bytes) {
  return (bytes + kLine - 1) / kLine;
}

}  // namespace

std::uint32_t Block::reserve(std::size_t bytes) {
  const std::size_t lines = lines_of(bytes);
  if (published_) {
    if (const auto found = take_free(lines)) {
      std::memset(&at<char>(*found), 0, lines * kLine);
      return *found;
    }
  }
  const std::size_t end = used_ + lines * kLine;
  if (end > max_bytes_ || (published_ && end > words_.size() * kWord)) {
    outgrown_ = true;
    return kClosed;
  }
  if (!published_) words_.resize(end / kWord);
  const auto offset = static_cast<std::uint32_t>(used_);
  used_ = end;
  return offset;
}

// The smallest part that is large enough; what is left of it stays free.
std::optional<std::uint32_t> Block::take_free(std::size_t lines) {
  const auto found = free_.lower_bound(lines);
  if (found == free_.end()) return std::nullopt;
  const auto [has, offset] = *found;
  free_.erase(found);
  if (has > lines) free_.emplace(has - lines, offset + static_cast<std::uint32_t>(lines * kLine));
  return offset;
}

void Block::release(std::uint32_t offset, std::size_t bytes) {
  if (offset > kClosed && bytes > 0) released_.emplace_back(lines_of(bytes), offset);
}

void Block::touch(std::uint32_t offset, std::size_t bytes) {
  if (!published_) return;
  for (std::size_t line = offset / kLine; line < lines_of(offset + bytes); line++) {
    if (touched_.empty() || touched_.back() != line) touched_.push_back(static_cast<std::uint32_t>(line));
  }
}

void Block::record(Turn turn, std::uint32_t offset) {
  if (published_) changes_.try_emplace(offset / kWord, Changed{turn, words_.data()[offset / kWord]});
}

void Block::set(Turn turn, std::uint32_t offset, std::uint32_t value) {
  if (at<std::uint32_t>(offset) == value) return;
  record(turn, offset);
  at<std::uint32_t>(offset) = value;
}

void Block::set(Turn turn, std::uint32_t offset, std::uint64_t value) {
  if (at<std::uint64_t>(offset) == value) return;
  record(turn, offset);
  at<std::uint64_t>(offset) = value;
}

void Block::publish(std::size_t spare) {
  words_.resize(lines_of(used_ + spare) * kLine / kWord);
  at<vmlane_policy_header>(0).size = static_cast<std::uint32_t>(words_.size() * kWord);
  published_ = true;
}

Phase Block::lines_after(std::vector<std::uint32_t> lines, std::uint8_t turn) const {
  std::ranges::sort(lines);
  const auto repeated = std::ranges::unique(lines);
  lines.erase(repeated.begin(), repeated.end());
  Phase phase;
  phase.reserve(lines.size());
  for (const std::uint32_t number : lines) {
    Line line{.offset = static_cast<std::uint32_t>(number * kLine)};
    const std::uint32_t first = line.offset / kWord;
    for (std::uint32_t i = 0; i < line.words.size(); i++) {
      const auto change = changes_.find(first + i);
      const bool later = change != changes_.end() && static_cast<std::uint8_t>(change->second.turn) > turn;
      line.words[i] = later ? change->second.before : words_.data()[first + i];
    }
    phase.push_back(line);
  }
  return phase;
}

std::vector<Phase> Block::take_phases() {
  std::array<std::vector<std::uint32_t>, 3> lines{std::move(touched_)};
  for (const auto& [word, change] : changes_)
    lines[static_cast<std::size_t>(change.turn)].push_back(word * kWord / static_cast<std::uint32_t>(kLine));
  std::vector<Phase> phases;
  for (std::size_t turn = 0; turn < lines.size(); turn++) {
    if (lines[turn].empty()) continue;
    phases.push_back(lines_after(std::move(lines[turn]), static_cast<std::uint8_t>(turn)));
  }
  touched_.clear();
  changes_.clear();
  for (const auto& [size, offset] : released_) free_.emplace(size, offset);
  released_.clear();
  return phases;
}

void write_phase(std::span<std::uint64_t> block, const Phase& phase) {
  for (const Line& line : phase) {
    const std::size_t first = line.offset / sizeof(std::uint64_t);
    for (std::size_t i = 0; i < line.words.size(); i++) {
      const std::atomic_ref<std::uint64_t> word(block[first + i]);
      if (word.load(std::memory_order_relaxed) != line.words[i])
        word.store(line.words[i], std::memory_order_release);
    }
  }
}

}  // namespace vmlane::policy
