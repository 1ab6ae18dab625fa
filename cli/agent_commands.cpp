// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <memory>
#include <ostream>

#include "cli/agent_client.h"
#include "cli/app.h"

namespace vmlane::cli {
namespace {

constexpr std::string_view kAgentExamples =
    "Examples:\n"
    "  vmlanectl agent status\n"
    "  vmlanectl agent status -o json\n"
    "  vmlanectl agent resync";

std::string problem_text(const Json& problem) {
  std::string text = problem.value("source", "");
  if (!text.empty()) text += ": ";
  if (problem.contains("kind"))
    text += problem.value("kind", "") + " " + problem.value("id", "") + ": " + problem.value("key", "") + " ";
  text += problem.value("reason", "");
  const std::string effect = problem.value("effect", "");
  return effect.empty() ? text : text + "; " + effect;
}

void print_status(const Json& status, const Context& context) {
  for (const auto& [key, value] : status["source"].items())
    if (!value.is_array())
      context.out() << key << ": " << (value.is_string() ? value.get<std::string>() : to_text(value)) << "\n";
  for (const char* key : {"node", "generation", "objects", "pods"})
    context.out() << key << ": "
                  << (status[key].is_string() ? status[key].get<std::string>() : to_text(status[key]))
                  << "\n";
  if (status["source"].contains("resources"))
    context.out() << "\n"
                  << render_rows(OutputFormat::kTable,
                                 {{"RESOURCE", "/resource"},
                                  {"API VERSION", "/apiVersion"},
                                  {"STATE", "/state"},
                                  {"OBJECTS", "/objects"}},
                                 status["source"]["resources"])
                  << "\n";
  for (const Json& sink : status["sinks"])
    context.out() << "published: " << to_text(sink["generation"]) << " in " << sink.value("name", "")
                  << (sink.value("repaired", 0) == 0 ? "" : ", repaired " + to_text(sink["repaired"]))
                  << "\n";
  const Json& checks = status["checks"];
  context.out() << "checks: " << to_text(checks["done"])
                << ", attachments that fail: " << to_text(checks["wrong"]) << "\n";
  context.out() << "\n"
                << render_rows(OutputFormat::kTable,
                               {{"ID", "/id"},
                                {"LANE", "/lane"},
                                {"POD", "/pod"},
                                {"IFNAME", "/ifname"},
                                {"NETWORK", "/network"},
                                {"STATE", "/state"},
                                {"JUDGED", "/judged"},
                                {"MISSING", "/missing"}},
                               status["attachments"]);
}

// Problems make the command fail after it has shown the rest.
int call_agent(const NodeSource& node, const std::string& method, const Context& context) {
  auto agent = connect_agent(node, context);
  if (!agent) return context.failed(agent.error());
  const auto status = agent->call(method);
  if (!status) return context.failed(status.error());
  if (context.format == OutputFormat::kTable)
    print_status(*status, context);
  else
    context.out() << render_object(context.format, *status);
  for (const Json& problem : (*status)["problems"])
    context.err() << "vmlanectl: " << problem_text(problem) << std::endl;
  return (*status)["problems"].empty() ? 0 : kFailed;
}

}  // namespace

void add_agent_commands(CLI::App& app, Context& context) {
  const auto node = std::make_shared<NodeSource>();
  CLI::App* group = app.add_subcommand("agent", "The node's agent: what it knows and what it has published");
  group->require_subcommand(1);
  group->footer(std::string(kAgentExamples));
  const auto add = [&](const std::string& name, const std::string& about) {
    CLI::App* command = group->add_subcommand(name, about);
    node->add_options(*command);
    add_output_option(*command, context);
    command->callback(
        [node, name, &context] { context.run = [=, &context] { return call_agent(*node, name, context); }; });
  };
  add("status", "Show the agent's objects, attachments, publications and problems");
  add("resync", "Have the agent read everything again and publish it; then as status");
}

}  // namespace vmlane::cli
