// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "perf/site.h"

namespace vmlane::perf {

// CPUs that this process may run on.
std::vector<int> usable_cpus();
// "0,1,4"
std::string cpu_list(const std::vector<int>& cpus);

// What a reader has to know of the machine to judge figures: CPU, number, governor, memory, kernel,
// hypervisor, whether guests have KVM, versions of QEMU and of vmlane.
std::map<std::string, std::string> describe_machine(const SiteOptions& options);

}  // namespace vmlane::perf
