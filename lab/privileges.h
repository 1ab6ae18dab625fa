// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <optional>

#include "core/error.h"

namespace vmlane::lab {

// Code::kBadEnvironment unless we are root.
Result<> check_root();

// Turns the calling process (single-threaded: a fresh child) into user `uid`, group `gid`, with `extra_group`
// as its only further group, without any capability and without a way to gain one.
Result<> drop_privileges(uid_t uid, gid_t gid, std::optional<gid_t> extra_group);

struct KvmAccess {
  bool usable = false;
  std::optional<gid_t> group;  // a further group that the user needs for /dev/kvm
};
// Whether a process of that user can run a stock guest with KVM: the CPU has virtualisation extensions (a
// paravirtual KVM, which shows /dev/kvm without them, starts no stock kernel) and the device lets the user
// in.
KvmAccess kvm_access(uid_t uid, gid_t gid);

}  // namespace vmlane::lab
