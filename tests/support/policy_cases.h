// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/address.h"
#include "core/json.h"
#include "policy/objects.h"
#include "policy/probe.h"
#include "tests/support/policy_frames.h"

// The cases of tests/conformance/policy, whose README.md says how they are written.
namespace vmlane::test {

// A question and its answer.
struct PolicyExpectation {
  policy::Probe probe;
  bool allowed = false;
  std::string text;  // for messages
};

// All objects of one moment, and what holds then.
struct PolicyStep {
  std::map<std::string, Json> objects;  // by "Kind ns/name"
  std::vector<PolicyExpectation> expectations;
};

struct PolicyCase {
  std::string name;
  std::vector<PolicyStep> steps;  // at least one
};

// The step's objects as types; the test fails for one that cannot be read.
policy::Objects policy_objects(const PolicyStep& step);
// The address of an end on the probe's network in its family; nothing for a pod without one.
std::optional<IpAddress> address_of(const policy::Objects& objects, const policy::End& end,
                                    const policy::Probe& probe);

// The pod of the cases that real traffic is sent from and to.
inline constexpr const char* kCasePod = "x/a";
// The first packet of a probe's connection from or to that pod. Nothing when it is no end or both, on other
// networks than the default one, where the other end has no address, and where that is a node: a node is told
// by how its frames come.
std::optional<PacketSpec> case_packet(const policy::Objects& objects, const policy::Probe& probe,
                                      std::uint16_t source_port);

// Names of the files with cases in the directory or one below it, sorted.
std::vector<std::string> policy_case_files(const std::string& below = {});
// The cases of a file; the test fails for one that cannot be read.
std::vector<PolicyCase> policy_cases(const std::string& file);

// The documents of a file, as they are.
std::vector<Json> policy_documents(const std::string& file);
// "Kind ns/name" or "Kind name".
std::string policy_object_name(const Json& object);
// The objects that cases have in common, by name.
const std::map<std::string, Json>& policy_world(const std::string& file);

}  // namespace vmlane::test
