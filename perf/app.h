// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "core/invocation.h"

// vmlane-perf: how far a VM's network is from a container's, on this machine, lane by lane. run measures and
// writes result.json and report.html; compare tells what changed between two results; report renders results
// again; self-test shows what the harness itself adds.
//
// Where data goes: Lane (lane.h) builds a path in a pod of the Site (site.h), Client (client.h) asks the
// responder (responder.h, native_guest.h) at its end, Runner (run.h) puts blocks in pairs with the
// container's and gives a RunResult (result.h), from which table, report and comparison are computed.
namespace vmlane::perf {

// Exit status: 0 done, 1 failed, 2 wrong usage, 3 compare found something worse, 130 interrupted (the partial
// result is written).
int run_vmlane_perf(std::vector<std::string> arguments, const Invocation& invocation);

}  // namespace vmlane::perf
