// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "cli/app.h"
#include "cli/node_source.h"
#include "core/json_rpc.h"

namespace vmlane::cli {
namespace {

constexpr std::string_view kExamples =
    "Examples:\n"
    "  vmlanectl switch ports\n"
    "  vmlanectl switch macs --lab\n"
    "  vmlanectl switch drops -o json\n"
    "  vmlanectl switch stats";

// A question to the switch, and how its answer is shown: a table, or, without columns, an object.
struct Question {
  const char* method;
  const char* about;
  std::vector<Column> columns;
};

const std::vector<Question>& questions() {
  static const std::vector<Question> all = {
      {"ports",
       "Ports and uplinks with their state and counters",
       {{"PORT", "/port"},
        {"KIND", "/kind"},
        {"NETWORK", "/network"},
        {"WORKLOAD", "/workload"},
        {"MAC", "/mac"},
        {"STATE", "/state"},
        {"PAIRS", "/pairs"},
        {"RX", "/rx"},
        {"TX", "/tx"},
        {"DROPPED", "/dropped"},
        {"PROBLEM", "/problem"}}},
      {"macs",
       "Which port has which MAC",
       {{"MAC", "/mac"}, {"NETWORK", "/network"}, {"PORT", "/port"}, {"KIND", "/kind"}}},
      {"drops",
       "How many frames were dropped, by port and reason",
       {{"PORT", "/port"}, {"NETWORK", "/network"}, {"REASON", "/reason"}, {"FRAMES", "/frames"}}},
      {"stats", "What the switch's time and memory go into", {}}};
  return all;
}

int ask_switch(const NodeSource& node, const Question& question, const Context& context) {
  const auto config = node.read(context);
  if (!config) return context.failed(config.error());
  auto client = json_rpc::Client::connect(config->switch_socket());
  if (!client) return context.failed(client.error().wrap("the switch cannot be asked"));
  const auto answer = client->call(question.method);
  if (!answer) return context.failed(answer.error());
  context.out() << (question.columns.empty() ? render_object(context.format, *answer)
                                             : render_rows(context.format, question.columns, *answer));
  return 0;
}

}  // namespace

void add_switch_commands(CLI::App& app, Context& context) {
  const auto node = std::make_shared<NodeSource>();
  CLI::App* group = app.add_subcommand("switch", "The vhost-user switch of the node, as it runs");
  group->require_subcommand(1);
  group->footer(std::string(kExamples));
  for (const Question& question : questions()) {
    CLI::App* command = group->add_subcommand(question.method, question.about);
    node->add_options(*command);
    add_output_option(*command, context);
    command->callback([node, &question, &context] {
      context.run = [node, &question, &context] { return ask_switch(*node, question, context); };
    });
  }
}

}  // namespace vmlane::cli
