// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <memory>
#include <ostream>

#include "cli/agent_client.h"
#include "cli/app.h"
#include "manifests/yaml.h"

namespace vmlane::cli {
namespace {

struct LiveArguments {
  NodeSource node;
  std::string pod;
  std::string attachment;
  std::string protocol;
  std::string state;
  bool follow = false;
  bool unused = false;
};

// "blue/guard rule 1", or what else decided; "would deny by" it where it is in audit.
std::string decided_by(const Json& row) {
  std::string text = row["policy"].is_string() ? row.value("policy", "") : std::string();
  if (row["rule"].is_number()) text += (text.empty() ? "rule " : " rule ") + to_text(row["rule"]);
  if (!row.value("audit", false)) return text;
  return "would deny" + (text.empty() ? "" : " by " + text);
}

std::vector<Column> packet_columns(std::vector<Column> first, std::vector<Column> last) {
  std::vector<Column> columns = std::move(first);
  for (const Column& column :
       {Column{"POD", "/pod"}, Column{"NETWORK", "/network"}, Column{"DIRECTION", "/direction"},
        Column{"PROTOCOL", "/protocol"}, Column{"SOURCE", "/source"}, Column{"DESTINATION", "/destination"}})
    columns.push_back(column);
  columns.insert(columns.end(), last.begin(), last.end());
  return columns;
}

// One line of what is followed: a JSON object, or the words of a table without its columns.
std::string drop_line(OutputFormat format, const Json& drop) {
  if (format == OutputFormat::kJson) return to_text(drop) + "\n";
  if (format == OutputFormat::kYaml) return "---\n" + to_yaml(drop);
  const std::string by = decided_by(drop);
  return drop.value("time", "") + " " + drop.value("pod", "-") + " " + drop.value("direction", "") + " " +
         drop.value("protocol", "") + " " + drop.value("source", "") + " > " + drop.value("destination", "") +
         " " + drop.value("reason", "") + (by.empty() ? "" : " " + by) + "\n";
}

bool is_of(const LiveArguments& arguments, const Json& row) {
  return (arguments.pod.empty() || row.value("pod", "") == arguments.pod) &&
         row.value("attachment", "").starts_with(arguments.attachment);
}

int follow_drops(const LiveArguments& arguments, json_rpc::Client& agent, const Context& context) {
  for (;;) {
    const auto message = agent.next_notification(std::chrono::seconds(3600));
    if (!message) return context.failed(message.error());
    if (!*message) continue;
    const Json drop = (*message)->value("params", Json::object());
    if (is_of(arguments, drop)) context.out() << drop_line(context.format, drop) << std::flush;
  }
}

int show_drops(const LiveArguments& arguments, const Context& context) {
  auto agent = connect_agent(arguments.node, context);
  if (!agent) return context.failed(agent.error());
  const auto drops = agent->call("policy.drops", {{"follow", arguments.follow}});
  if (!drops) return context.failed(drops.error());
  Json rows = Json::array();
  for (Json row : *drops) {
    if (!is_of(arguments, row)) continue;
    if (arguments.follow) context.out() << drop_line(context.format, row);
    if (context.format == OutputFormat::kTable) row["by"] = decided_by(row);
    rows.push_back(std::move(row));
  }
  if (arguments.follow) {
    context.out() << std::flush;
    return follow_drops(arguments, *agent, context);
  }
  context.out() << render_rows(
      context.format, packet_columns({{"TIME", "/time"}}, {{"REASON", "/reason"}, {"BY", "/by"}}), rows);
  return 0;
}

int show_counters(const LiveArguments& arguments, const Context& context) {
  auto agent = connect_agent(arguments.node, context);
  if (!agent) return context.failed(agent.error());
  auto rows = agent->call("policy.counters");
  if (!rows) return context.failed(rows.error());
  Json wanted = Json::array();
  for (Json& row : *rows) {
    if (arguments.unused && (row["hits"] != 0 || row["audited"] != 0)) continue;
    if (context.format == OutputFormat::kTable && row["rule"].is_null()) row["rule"] = "isolation";
    wanted.push_back(std::move(row));
  }
  context.out() << render_rows(context.format,
                               {{"KIND", "/kind"},
                                {"POLICY", "/policy"},
                                {"DIRECTION", "/direction"},
                                {"RULE", "/rule"},
                                {"HITS", "/hits"},
                                {"AUDITED", "/audited"},
                                {"LAST", "/last"}},
                               wanted);
  return 0;
}

Json choice(const LiveArguments& arguments) {
  Json params = Json::object();
  if (!arguments.pod.empty()) params["pod"] = arguments.pod;
  if (!arguments.attachment.empty()) params["attachment"] = arguments.attachment;
  return params;
}

int list_connections(const LiveArguments& arguments, const Context& context) {
  auto agent = connect_agent(arguments.node, context);
  if (!agent) return context.failed(agent.error());
  const auto found = agent->call("policy.connections", choice(arguments));
  if (!found) return context.failed(found.error());
  Json rows = Json::array();
  for (Json row : *found) {
    const bool wanted = (arguments.protocol.empty() || row.value("protocol", "") == arguments.protocol) &&
                        (arguments.state.empty() || row.value("state", "") == arguments.state);
    if (!wanted) continue;
    if (context.format == OutputFormat::kTable) row["by"] = decided_by(row);
    rows.push_back(std::move(row));
  }
  context.out() << render_rows(
      context.format, packet_columns({}, {{"STATE", "/state"}, {"IDLE", "/idle"}, {"BY", "/by"}}), rows);
  return 0;
}

int flush_connections(const LiveArguments& arguments, const Context& context) {
  auto agent = connect_agent(arguments.node, context);
  if (!agent) return context.failed(agent.error());
  const auto flushed = agent->call("policy.flush", choice(arguments));
  if (!flushed) return context.failed(flushed.error());
  context.out() << render_object(context.format, *flushed);
  return 0;
}

using Work = int (*)(const LiveArguments&, const Context&);

CLI::App* add_command(CLI::App& group, const std::string& name, const std::string& about,
                      const std::shared_ptr<LiveArguments>& arguments, Context& context, Work work) {
  CLI::App* command = group.add_subcommand(name, about);
  arguments->node.add_options(*command);
  add_output_option(*command, context);
  command->callback(
      [arguments, work, &context] { context.run = [=, &context] { return work(*arguments, context); }; });
  return command;
}

void add_choice(CLI::App& command, LiveArguments& arguments) {
  command.add_option("--pod", arguments.pod, "only of this pod")->type_name("NAMESPACE/NAME");
  command
      .add_option("--attachment", arguments.attachment,
                  "only of this attachment: its id or the beginning of it")
      ->type_name("ID");
}

}  // namespace

void add_live_policy_commands(CLI::App& group, Context& context) {
  const auto arguments = std::make_shared<LiveArguments>();
  CLI::App* drops = add_command(
      group, "drops", "Show the packets that were dropped last, or passed by audit alone, and by which rule",
      arguments, context, show_drops);
  drops->add_flag("--follow", arguments->follow, "go on with those to come; with -o json one object a line");
  add_choice(*drops, *arguments);
  CLI::App* counters = add_command(group, "counters", "Show how often each rule decided, and when last",
                                   arguments, context, show_counters);
  counters->add_flag("--unused", arguments->unused, "only rules that never did");
  CLI::App* ct = group.add_subcommand("ct", "The connections that policy let pass");
  ct->require_subcommand(1);
  CLI::App* list = add_command(*ct, "ls", "List connections", arguments, context, list_connections);
  add_choice(*list, *arguments);
  list->add_option("--protocol", arguments->protocol, "only of this protocol, as it is shown")
      ->type_name("NAME");
  list->add_option("--state", arguments->state, "only in this state, as it is shown")->type_name("STATE");
  CLI::App* flush = add_command(*ct, "flush", "Forget connections: their next packets are judged as new ones",
                                arguments, context, flush_connections);
  add_choice(*flush, *arguments);
}

}  // namespace vmlane::cli
