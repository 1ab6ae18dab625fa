// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "agent/node_state.h"
#include "agent/policy_ledger.h"
#include "core/json_rpc_server.h"

namespace vmlane::agent {

// Connections that are told of each new drop.
using Followers = std::set<std::uint64_t>;

// What can be asked over agent.sock: docs/agent.md has parameters and results. All arguments must outlive the
// methods.
json_rpc::Server::Methods methods(NodeState& state, PolicyLedger& ledger, Followers& followers);

}  // namespace vmlane::agent
