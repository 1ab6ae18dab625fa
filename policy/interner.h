// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

// Numbers for what occurs often: equal things have equal numbers, counted from 0. Internal to this room.
namespace vmlane::policy {

class StringInterner {
 public:
  std::uint32_t of(std::string_view text) {
    const auto found = ids_.find(text);
    if (found != ids_.end()) return found->second;
    const auto id = static_cast<std::uint32_t>(texts_.size());
    texts_.emplace_back(text);
    ids_.emplace(texts_.back(), id);
    return id;
  }
  std::optional<std::uint32_t> find(std::string_view text) const {
    const auto found = ids_.find(text);
    return found == ids_.end() ? std::nullopt : std::optional(found->second);
  }
  const std::string& text(std::uint32_t id) const { return texts_[id]; }

 private:
  std::deque<std::string> texts_;  // in their places for good: the index looks into them
  std::unordered_map<std::string_view, std::uint32_t> ids_;
};

// Sequences of numbers, one behind the other. The empty one is number 0.
template <class Item>
class SequenceInterner {
 public:
  SequenceInterner() : table_(kFirstSize) { of({}); }

  // `items` must not be of this interner.
  std::uint32_t of(std::span<const Item> items) {
    if (count_ * 2 >= table_.size()) grow();
    std::uint32_t& place = table_[place_of(items)];
    if (place != 0) return place - 1;
    items_.insert(items_.end(), items.begin(), items.end());
    starts_.push_back(static_cast<std::uint32_t>(items_.size()));
    place = ++count_;
    return place - 1;
  }
  std::span<const Item> at(std::uint32_t id) const {
    return std::span(items_).subspan(starts_[id], starts_[id + 1] - starts_[id]);
  }
  std::size_t count() const { return count_; }

 private:
  static constexpr std::size_t kFirstSize = 64;

  static std::size_t hash(std::span<const Item> items) {
    std::uint64_t value = items.size();
    for (const Item item : items) {
      value = (value ^ item) * 0x9e3779b97f4a7c15U;
      value ^= value >> 29;
    }
    return value;
  }

  // Where the sequence is in the table, or belongs.
  std::size_t place_of(std::span<const Item> items) const {
    const std::size_t mask = table_.size() - 1;
    for (std::size_t place = hash(items) & mask;; place = (place + 1) & mask) {
      if (table_[place] == 0) return place;
      const std::span<const Item> there = at(table_[place] - 1);
      if (std::equal(there.begin(), there.end(), items.begin(), items.end())) return place;
    }
  }

  void grow() {
    table_.assign(table_.size() * 2, 0);
    for (std::uint32_t id = 0; id < count_; id++) table_[place_of(at(id))] = id + 1;
  }

  std::vector<Item> items_;
  std::vector<std::uint32_t> starts_{0};
  std::vector<std::uint32_t> table_;  // id plus one, 0 where it is free
  std::uint32_t count_ = 0;
};

}  // namespace vmlane::policy
