// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/output.h"
#include "core/error.h"
#include "core/invocation.h"

namespace CLI {  // NOLINT(readability-identifier-naming): the library's name
class App;
}

// vmlanectl: one command tree; each group of commands adds itself to it. Commands write results to standard
// output, progress and errors to standard error. Exit statuses: 0 done, 1 failed, 2 wrong usage; `lab exec`
// gives the command's own.
namespace vmlane::cli {

inline constexpr int kFailed = 1;
inline constexpr int kUsage = 2;

// What all commands share, and the command that the arguments chose.
struct Context {
  const Invocation& invocation;
  OutputFormat format = OutputFormat::kTable;
  std::vector<std::string>
      command;  // what stands after "--": a command for `lab exec`, never options of ours
  std::function<int()> run;

  std::ostream& out() const { return *invocation.out; }
  std::ostream& err() const { return *invocation.err; }
  // Prints "vmlanectl: <error>" and gives the exit status.
  int failed(const Error& error) const;
  int finish(const Result<>& result) const { return result ? 0 : failed(result.error()); }
};

void add_agent_commands(CLI::App& app, Context& context);
void add_lab_commands(CLI::App& app, Context& context);
void add_attachment_commands(CLI::App& app, Context& context);
void add_cloud_init_command(CLI::App& app, Context& context);
void add_nad_commands(CLI::App& app, Context& context);
void add_policy_commands(CLI::App& app, Context& context);
// Those of the group `policy` that ask the node's agent: drops, counters, ct.
void add_live_policy_commands(CLI::App& group, Context& context);
void add_switch_commands(CLI::App& app, Context& context);

// Adds the output switch `-o, --output table|json|yaml`.
void add_output_option(CLI::App& command, Context& context);

// Runs vmlanectl with its arguments (without the program's name).
int run_vmlanectl(std::vector<std::string> arguments, const Invocation& invocation);

}  // namespace vmlane::cli
