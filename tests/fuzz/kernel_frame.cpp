// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/kernel_frame.h"

#include <arpa/inet.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "tests/fuzz/fuzz.h"

namespace vmlane::fuzz {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kAttachedKey = 1;
constexpr std::uint32_t kIfindex = 7;
constexpr std::uint32_t kLeastFrame = 14;
constexpr std::uint32_t kMostFrame = kPage;

// The end of a page behind which nothing can be read. Programs see 32 bits of an address.
std::uint8_t* linear_end() {
  static std::uint8_t* const page = [] {
    void* pages =
        mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    require(pages != MAP_FAILED, "there is memory at a low address");
    auto* bytes = static_cast<std::uint8_t*>(pages);
    require(mprotect(bytes + kPage, kPage, PROT_NONE) == 0, "a page can be closed");
    return bytes;
  }();
  return page + kPage;
}

std::uint32_t low_address(const std::uint8_t* pointer) {
  return static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(pointer));
}

KernelFrame* running = nullptr;

}  // namespace

KernelFrame::KernelFrame(std::vector<std::uint8_t> frame, std::size_t linear)
    : bytes_(std::move(frame)), linear_(linear) {
  require(bytes_.size() <= kPage, "a frame fits a page");
  skb_.tc_classid = kAttachedKey;
  skb_.ifindex = kIfindex;
  // What eth_type_trans found when the frame arrived.
  std::uint16_t type = 0;
  if (bytes_.size() >= kLeastFrame) std::memcpy(&type, &bytes_[12], sizeof(type));
  skb_.protocol = type;
  place();
}

void KernelFrame::place() {
  linear_ = std::min(linear_, bytes_.size());
  std::uint8_t* const end = linear_end();
  std::copy_n(bytes_.begin(), linear_, end - linear_);
  skb_.len = static_cast<std::uint32_t>(bytes_.size());
  skb_.data = low_address(end - linear_);
  skb_.data_end = low_address(end);
}

Outcome KernelFrame::run(int (*program)(struct __sk_buff*), WorkloadMaps& maps) {
  running = this;
  maps_ = &maps;
  copies_.clear();
  const int verdict = program(&skb_);
  running = nullptr;
  return {verdict, bytes_, copies_};
}

// What the helpers below may touch.
struct Helpers {
  static bool holds(std::size_t at, std::size_t length) {
    const std::size_t size = running->bytes_.size();
    return at <= size && length <= size - at;
  }
  static std::uint8_t* bytes() { return running->bytes_.data(); }
  static void place() { running->place(); }
  static WorkloadMaps& maps() { return *running->maps_; }
  static std::array<std::uint8_t, sizeof(vmlane_network_address)> address(const void* key) {
    std::array<std::uint8_t, sizeof(vmlane_network_address)> bytes{};
    std::memcpy(bytes.data(), key, bytes.size());
    return bytes;
  }
  static void copy() { running->copies_.push_back(running->bytes_); }
  static void resize(std::size_t length) {
    running->bytes_.resize(length);
    // The kernel makes what it changes linear.
    running->linear_ = length;
  }
};

}  // namespace vmlane::fuzz

using vmlane::fuzz::Helpers;

extern "C" {

void* bpf_map_lookup_elem(void* map, const void* key) {
  if (map == vmlane_claims_map) {
    const auto claim = Helpers::maps().claims.find(Helpers::address(key));
    return claim == Helpers::maps().claims.end() ? nullptr : &claim->second;
  }
  std::uint32_t number = 0;
  std::memcpy(&number, key, sizeof(number));
  if (number != vmlane::fuzz::kAttachedKey) return nullptr;
  if (map == vmlane_plains_map) return &Helpers::maps().plain;
  if (map == vmlane_guards_map) return &Helpers::maps().guard;
  return map == vmlane_answers_map ? &Helpers::maps().answers : nullptr;
}

// Only the claims are changed by a program.
long bpf_map_update_elem(void* map, const void* key, const void* value, __u64) {
  vmlane::fuzz::require(map == vmlane_claims_map, "a program adds to the claims alone");
  std::memcpy(&Helpers::maps().claims[Helpers::address(key)], value, sizeof(vmlane_claim));
  return 0;
}

long bpf_map_delete_elem(void* map, const void* key) {
  vmlane::fuzz::require(map == vmlane_claims_map, "a program takes from the claims alone");
  return Helpers::maps().claims.erase(Helpers::address(key)) == 1 ? 0 : -ENOENT;
}

long bpf_skb_load_bytes(const void*, __u32 offset, void* to, __u32 length) {
  if (!Helpers::holds(offset, length)) return -EFAULT;
  std::memcpy(to, Helpers::bytes() + offset, length);
  return 0;
}

long bpf_skb_store_bytes(struct __sk_buff*, __u32 offset, const void* from, __u32 length, __u64) {
  if (!Helpers::holds(offset, length)) return -EFAULT;
  std::memcpy(Helpers::bytes() + offset, from, length);
  Helpers::place();
  return 0;
}

long bpf_skb_change_tail(struct __sk_buff*, __u32 length, __u64) {
  if (length < vmlane::fuzz::kLeastFrame || length > vmlane::fuzz::kMostFrame) return -EINVAL;
  Helpers::resize(length);
  Helpers::place();
  return 0;
}

// The sum at `offset` after a word under it was changed (RFC 1624); one of zero is sent as all ones.
long bpf_l4_csum_replace(struct __sk_buff*, __u32 offset, __u64 from, __u64 to, __u64) {
  std::uint16_t sum = 0;
  if (!Helpers::holds(offset, sizeof(sum))) return -EFAULT;
  std::memcpy(&sum, Helpers::bytes() + offset, sizeof(sum));
  std::uint32_t whole =
      static_cast<std::uint16_t>(~sum) + static_cast<std::uint16_t>(~from) + static_cast<std::uint16_t>(to);
  whole = (whole & 0xffff) + (whole >> 16);
  whole = (whole & 0xffff) + (whole >> 16);
  sum = static_cast<std::uint16_t>(~whole);
  if (sum == 0) sum = 0xffff;
  std::memcpy(Helpers::bytes() + offset, &sum, sizeof(sum));
  Helpers::place();
  return 0;
}

long bpf_redirect(__u32 ifindex, __u64) {
  vmlane::fuzz::require(ifindex == vmlane::fuzz::kIfindex, "a reply goes back where its question came from");
  return 7;  // TC_ACT_REDIRECT
}

long bpf_clone_redirect(struct __sk_buff*, __u32, __u64) {
  Helpers::copy();
  return 0;
}

__u64 bpf_ktime_get_boot_ns(void) {
  return 1'000'000'000'000;
}

__u64 bpf_jiffies64(void) {
  return 250'000;
}

}  // extern "C"
