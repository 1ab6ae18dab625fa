// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/invocation.h"

// vmlane-agent: the node daemon. It watches Kubernetes objects (object_source.h) and this node's attachment
// records (attachment_files.h), joins the two (join.h), and makes of them what others read: facts about pods
// for the plugins (pod_facts.h) and policy tables for the datapaths (policy_sink.h). vmlanectl and
// vmlane-multus ask it over agent.sock (methods.h).
//
// Invariants: attaching and detaching needs no agent, and what it published stays in force when it is gone or
// killed at any moment; it keeps nothing that it could not read again; one object, file or attachment that is
// wrong is reported and stops nothing else; one agent a node. It works in one thread and waits in one place.
namespace vmlane::agent {

struct AgentOptions {
  std::vector<std::filesystem::path> objects;  // directories; none: the API server
  std::filesystem::path kubeconfig;            // empty: that of the pod that the agent runs in
  std::string node;                            // empty: the host's name
  // In which each attachment is looked at once, by its plugin's CHECK, and what was published is compared
  // with what is there; zero: never.
  std::chrono::milliseconds check_interval = std::chrono::minutes(1);
  bool once = false;  // everything once, status on standard output, no socket and no marker
};

// Runs until SIGTERM or SIGINT. Code::kConflict when another agent runs on this node, and what keeps it from
// starting.
Result<> run_agent(const AgentOptions& options, const Invocation& invocation);

// The program's main() but for reading the process: options, exit status (0 done, 1 failed, 2 wrong usage).
int agent_main(std::vector<std::string> arguments, const Invocation& invocation);

}  // namespace vmlane::agent
