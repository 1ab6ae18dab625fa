// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "core/error.h"

struct rte_mempool;

namespace vmlane::dataplane {

// Where the switch's own buffers are. Guests' memory is theirs, of whatever pages.
enum class Pages {
  kAuto,    // huge ones if there are enough free
  kHuge,    // faster by a few percent to a third, by the size of frames
  kNormal,  // no huge page is needed, nor a right to use them
};

struct MemoryOptions {
  Pages pages = Pages::kAuto;
  unsigned buffers = 8192;  // of 2 KiB; a frame of 64 KiB takes 32
};

// Starts DPDK without a device, without files and without a second process; once in a process. Gives the pool
// of buffers. Errors say what is missing.
Result<rte_mempool*> start_memory(const MemoryOptions& options);

}  // namespace vmlane::dataplane
