// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace vmlane::policy {

// Words that are 0 until they are written, and take memory only where they have been: a mapping of its own,
// which grows without being copied. Internal to this room.
class ZeroPages {
 public:
  ZeroPages() = default;
  ZeroPages(const ZeroPages&) = delete;
  ZeroPages& operator=(const ZeroPages&) = delete;
  ~ZeroPages();

  // Throws std::bad_alloc, as a vector does.
  void resize(std::size_t words);
  std::size_t size() const { return words_; }
  std::uint64_t* data() { return data_; }
  const std::uint64_t* data() const { return data_; }
  std::span<const std::uint64_t> all() const { return {data_, words_}; }

 private:
  std::uint64_t* data_ = nullptr;
  std::size_t words_ = 0;
  std::size_t mapped_ = 0;  // bytes
};

}  // namespace vmlane::policy
