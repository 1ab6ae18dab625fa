// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bpf/bpf.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/files.h"

// Maps of the policy stage as its publisher makes, reads and writes them. Internal to this room.
namespace vmlane::ebpf {

// The key of maps that have one element.
inline constexpr std::uint32_t kOnlyKey = 0;

// The memory of an array map of which every process sees the same.
class Mapping {
 public:
  Mapping() = default;
  Mapping(void* memory, std::size_t size) : memory_(memory), size_(size) {}
  Mapping(Mapping&& other) noexcept { *this = std::move(other); }
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(size_, other.size_);
    return *this;
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();

  template <class Element>
  std::span<Element> as() const {
    return {static_cast<Element*>(memory_), size_ / sizeof(Element)};
  }
  explicit operator bool() const { return memory_ != nullptr; }

 private:
  void* memory_ = nullptr;
  std::size_t size_ = 0;
};

Result<Mapping> map_memory(int map, const std::string& what);

Result<Fd> make_map(bpf_map_type type, const char* name, std::uint32_t key, std::uint32_t value,
                    std::size_t entries, std::uint32_t flags);

// The map in a slot of a map of maps; empty when there is none.
Fd inner_map(int outer, std::uint32_t slot);
// The same by its id; 0 when there is none.
std::uint32_t inner_map_id(int outer, std::uint32_t slot);

// Returns when no program still works with what was there before.
Result<> put_inner(int outer, std::uint32_t slot, const Fd& inner);

// Size of a map's values, 0 when that cannot be told. Another build's may be other than this one's.
std::size_t value_size(int map);

// As much of a value as both this build and the map have; the rest is zeros.
template <class Value>
std::optional<Value> read_value(int map, std::uint32_t key) {
  std::vector<std::byte> bytes(std::max(value_size(map), sizeof(Value)));
  if (bpf_map_lookup_elem(map, &key, bytes.data()) != 0) return std::nullopt;
  Value value{};
  std::memcpy(&value, bytes.data(), sizeof(value));
  return value;
}

}  // namespace vmlane::ebpf
