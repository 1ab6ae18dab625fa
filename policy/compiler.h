// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "policy/objects.h"
#include "policy/probe.h"
#include "policy/store.h"
#include "policy/verdict.h"

namespace vmlane::policy {

// The tables of a set of objects, and the names behind their numbers.
struct Compiled {
  std::vector<std::uint64_t> words;  // the block that verdict.h describes
  std::map<std::pair<std::string, std::string>, std::uint32_t> endpoints;  // (pod id, network)
  std::map<std::string, std::uint32_t> networks;
  std::vector<PolicyName> policies;
  std::vector<Problem> problems;  // what only shows when all objects are known

  vmlane_policy_tables tables() const;
};

// Every pod that runs is an endpoint on each of its networks; pods with the same policies and port numbers
// share a profile. Limits (verdict.h: rules and classes of a profile; 16 MiB for one) are a Problem of the
// policy that goes past them, and its pods let nothing through in that direction.
Compiled compile(const Objects& objects);

// The verdict by the tables: what a datapath does, with the ends found by name. Code::kNotFound for a pod
// that does not exist.
Result<Verdict> ask_tables(const Compiled& compiled, const Objects& objects, const Probe& probe);

}  // namespace vmlane::policy
