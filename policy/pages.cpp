// SPDX-License-Identifier: Apache-2.0
#include "policy/pages.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

namespace vmlane::policy {

ZeroPages::~ZeroPages() {
  if (data_ != nullptr) munmap(data_, mapped_);
}

void ZeroPages::resize(std::size_t words) {
  constexpr std::size_t kLeast = std::size_t{1} << 20;
  const std::size_t bytes = words * sizeof(std::uint64_t);
  if (bytes > mapped_) {
    const std::size_t wanted = std::max(bytes + bytes / 2, kLeast);
    void* pages = data_ == nullptr ? mmap(nullptr, wanted, PROT_READ | PROT_WRITE,
                                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
                                   : mremap(data_, mapped_, wanted, MREMAP_MAYMOVE);
    if (pages == MAP_FAILED) throw std::bad_alloc();
    data_ = static_cast<std::uint64_t*>(pages);
    mapped_ = wanted;
  }
  words_ = words;
}

}  // namespace vmlane::policy
