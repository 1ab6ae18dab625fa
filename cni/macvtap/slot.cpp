// SPDX-License-Identifier: Apache-2.0
#include "cni/macvtap/slot.h"

#include <sys/stat.h>

#include <charconv>
#include <string>

#include "core/files.h"
#include "core/lock.h"
#include "core/names.h"

namespace vmlane::cni {
namespace {

using names::MacvtapSlot;

int after(int index) {
  return index + 1 < MacvtapSlot::kEndIndex ? index + 1 : MacvtapSlot::kFirstIndex;
}

int parse_next(const std::optional<std::string>& text) {
  int next = 0;
  if (text) std::from_chars(text->data(), text->data() + text->size(), next);
  const bool valid = next >= MacvtapSlot::kFirstIndex && next < MacvtapSlot::kEndIndex;
  return valid ? next : MacvtapSlot::kFirstIndex;
}

bool has_node(int index) {
  struct stat status {};
  return ::lstat(("/dev/tap" + std::to_string(index)).c_str(), &status) == 0;
}

}  // namespace

Result<int> take_macvtap_index(const NodeConfig& config) {
  constexpr int kMaxTaken = 1 << 20;  // the kernel has no more devices than that
  VMLANE_ASSIGN(const auto lock, ObjectLock::acquire(config.locks_dir(), "kernel", "ifindex"));
  const auto text = read_file(config.ifindex_file());
  int index = parse_next(text ? *text : std::nullopt);
  for (int taken = 0; has_node(index); taken++) {
    if (taken == kMaxTaken) return fail(Code::kKernel, "the node has no macvtap device left");
    index = after(index);
  }
  // A number that is taken and not used is no loss, so the disk is not waited for; the next boot begins anew.
  VMLANE_TRY(write_file_atomically(config.ifindex_file(), std::to_string(after(index)) + "\n",
                                   {.mode = 0640, .sync = Sync::kLater}));
  return index;
}

}  // namespace vmlane::cni
