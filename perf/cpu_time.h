// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

// CPU time as the kernel accounts it (proc(5)).
namespace vmlane::perf {

// Nanoseconds that all threads of a process, and of the processes that it started and that live, have run so
// far; 0 when it is gone.
std::uint64_t process_cpu_ns(pid_t pid);

// The kernel's threads that work off packets when interrupts leave too many of them.
std::vector<pid_t> softirq_threads();

// The machine's processors together, in clock ticks since boot.
struct MachineCpu {
  std::uint64_t total = 0;
  std::uint64_t idle = 0;   // waiting for a disk included
  std::uint64_t steal = 0;  // taken by other machines of the same host

  double busy_percent_since(const MachineCpu& before) const;
  double steal_percent_since(const MachineCpu& before) const;
};
MachineCpu machine_cpu();

}  // namespace vmlane::perf
