// SPDX-License-Identifier: Apache-2.0
#include "cli/switch_commands.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

#include "cli/app.h"
#include "cli/node_source.h"
#include "core/json_rpc.h"
#include "core/keeper_paths.h"

namespace vmlane::cli {
namespace {

constexpr std::string_view kSwitchExamples =
    "Examples:\n"
    "  vmlanectl switch ports\n"
    "  vmlanectl switch macs --lab\n"
    "  vmlanectl switch drops -o json\n"
    "  vmlanectl switch stats\n"
    "  vmlanectl switch flows\n"
    "  vmlanectl switch capture 3f2a --frames 20 --write frames.pcap\n"
    "  vmlanectl switch trace 3f2a --destination 192.0.2.7 --protocol udp --destination-port 53\n"
    "  vmlanectl switch quarantine 3f2a --reason \"sends what it must not\"\n"
    "  vmlanectl switch release 3f2a\n"
    "  vmlanectl switch drain --seconds 30\n"
    "  vmlanectl switch restart";

// A question to the switch or its keeper, and how its answer is shown: a table, or, without columns, an
// object.
struct Question {
  const char* method;
  const char* about;
  std::vector<Column> columns;
  bool of_keeper = false;
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
      {"flows",
       "Connections that policy has let through",
       {{"PORT", "/attachment"},
        {"PROTOCOL", "/protocol"},
        {"SOURCE", "/source"},
        {"PORT", "/source_port"},
        {"DESTINATION", "/destination"},
        {"PORT", "/destination_port"},
        {"STATE", "/state"},
        {"IDLE", "/idle"},
        {"POLICY", "/policy"},
        {"RULE", "/rule"}}},
      {"stats", "What the switch's time and memory go into", {}},
      {"sessions",
       "What the keeper holds for each port, also while no switch runs",
       {{"PORT", "/port"},
        {"STATE", "/state"},
        {"SWITCH", "/switch"},
        {"RINGS", "/rings"},
        {"REGIONS", "/regions"},
        {"REPLAYS", "/replays"},
        {"LAST END", "/last_reason"},
        {"PROBLEM", "/problem"}},
       true},
      {"status", "Which switch forwards, what is ready to replace it, and how often one was", {}, true}};
  return all;
}

Result<json_rpc::Client> connect_keeper(const NodeConfig& config) {
  auto client = json_rpc::Client::connect(keeper_socket(config));
  if (!client) return fail(client.error().wrap("the switch's keeper cannot be asked"));
  return client;
}

int ask_switch(const NodeSource& node, const Question& question, const Context& context) {
  const auto config = node.read(context);
  if (!config) return context.failed(config.error());
  auto client = question.of_keeper ? connect_keeper(*config) : connect_switch(*config);
  if (!client) return context.failed(client.error());
  const auto answer = client->call(question.method);
  if (!answer) return context.failed(answer.error());
  context.out() << (question.columns.empty() ? render_object(context.format, *answer)
                                             : render_rows(context.format, question.columns, *answer));
  return 0;
}

// The keeper's state after it has replaced the switch.
Result<Json> restart(const NodeConfig& config) {
  auto client = json_rpc::Client::connect(keeper_socket(config));
  if (!client) {
    Error error = client.error().wrap("the switch cannot be replaced");
    error.details = "a switch without vmlane-keeper is stopped and started by whoever runs it";
    return fail(std::move(error));
  }
  VMLANE_ASSIGN(const Json before, client->call("restart"));
  constexpr auto kPatience = std::chrono::seconds(60);
  constexpr auto kPoll = std::chrono::milliseconds(20);
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    VMLANE_ASSIGN(const Json now, client->call("status"));
    const bool done = now.value("restarts", 0U) > before.value("restarts", 0U);
    if (done && now.value("state", "") == "forwarding") return now;
    if (std::chrono::steady_clock::now() >= deadline)
      return fail(Code::kTryAgain, "the switch was not replaced within 60 seconds",
                  "the log of vmlane-keeper says why");
    std::this_thread::sleep_for(kPoll);
  }
}

int restart_switch(const NodeSource& node, const Context& context) {
  const auto config = node.read(context);
  if (!config) return context.failed(config.error());
  const auto done = restart(*config);
  if (!done) return context.failed(done.error());
  context.out() << render_object(context.format, *done);
  return 0;
}

// What an operator tells the switch about one port.
struct PortOrder {
  NodeSource node;
  std::string port;
  std::string reason;
};

int order(const PortOrder& order, const std::string& method, const Context& context) {
  const auto config = order.node.read(context);
  if (!config) return context.failed(config.error());
  auto client = connect_switch(*config);
  if (!client) return context.failed(client.error());
  Json params = {{"port", order.port}};
  if (!order.reason.empty()) params["reason"] = order.reason;
  const auto answer = client->call(method, params);
  if (!answer) return context.failed(answer.error());
  context.out() << render_object(context.format, *answer);
  return 0;
}

struct DrainOrder {
  NodeSource node;
  unsigned seconds = 60;
  bool end = false;
};

Result<Json> drain(const DrainOrder& order, const Context& context) {
  VMLANE_ASSIGN(const auto config, order.node.read(context));
  VMLANE_ASSIGN(auto client, connect_switch(config));
  if (order.end) return client.call("resume");
  return client.call("drain", {{"seconds", order.seconds}});
}

void add_drain(CLI::App& group, Context& context) {
  constexpr int kMostSeconds = 3600;
  const auto order = std::make_shared<DrainOrder>();
  CLI::App* command = group.add_subcommand(
      "drain", "Take no more frames from guests and uplinks, send what is on its way, and tell; for root");
  CLI::Option* end = command->add_flag("--end", order->end, "take them again");
  command->add_option("--seconds", order->seconds, "after which the switch takes them again by itself")
      ->check(CLI::Range(1, kMostSeconds))
      ->capture_default_str()
      ->excludes(end);
  order->node.add_options(*command);
  add_output_option(*command, context);
  command->callback([order, &context] {
    context.run = [order, &context] {
      const auto told = drain(*order, context);
      if (!told) return context.failed(told.error());
      context.out() << render_object(context.format, *told);
      return 0;
    };
  });
}

int show_metrics(const NodeSource& node, const Context& context) {
  const auto config = node.read(context);
  if (!config) return context.failed(config.error());
  auto client = connect_switch(*config);
  if (!client) return context.failed(client.error());
  const auto text = client->call("metrics");
  if (!text) return context.failed(text.error());
  context.out() << (text->is_string() ? text->get<std::string>() : std::string());
  return 0;
}

CLI::App* add_order(CLI::App& group, const std::shared_ptr<PortOrder>& arguments, const std::string& method,
                    const std::string& about, Context& context) {
  CLI::App* command = group.add_subcommand(method, about);
  command->add_option("PORT", arguments->port, "an attachment id, or the beginning of one")->required();
  arguments->node.add_options(*command);
  add_output_option(*command, context);
  command->callback([arguments, method, &context] {
    context.run = [arguments, method, &context] { return order(*arguments, method, context); };
  });
  return command;
}

}  // namespace

Result<json_rpc::Client> connect_switch(const NodeConfig& config) {
  auto client = json_rpc::Client::connect(config.switch_socket());
  if (!client) return fail(client.error().wrap("the switch cannot be asked"));
  return client;
}

void add_switch_commands(CLI::App& app, Context& context) {
  const auto node = std::make_shared<NodeSource>();
  CLI::App* group = app.add_subcommand("switch", "The vhost-user switch of the node, as it runs");
  group->require_subcommand(1);
  group->footer(std::string(kSwitchExamples));
  for (const Question& question : questions()) {
    CLI::App* command = group->add_subcommand(question.method, question.about);
    node->add_options(*command);
    add_output_option(*command, context);
    command->callback([node, &question, &context] {
      context.run = [node, &question, &context] { return ask_switch(*node, question, context); };
    });
  }
  add_switch_capture(*group, context);
  add_switch_trace(*group, context);
  add_drain(*group, context);
  CLI::App* metrics = group->add_subcommand("metrics", "Counters in the text format of Prometheus");
  node->add_options(*metrics);
  metrics->callback(
      [node, &context] { context.run = [node, &context] { return show_metrics(*node, context); }; });
  const auto arguments = std::make_shared<PortOrder>();
  add_order(*group, arguments, "quarantine", "Let a port neither send nor get anything, until it is released",
            context)
      ->add_option("--reason", arguments->reason, "what people are told of it")
      ->required();
  add_order(*group, arguments, "release", "Let a port that is in quarantine work again", context);
  CLI::App* command = group->add_subcommand(
      "restart", "Replace the switch by one of the program as it is on disk now; guests notice nothing");
  node->add_options(*command);
  add_output_option(*command, context);
  command->callback(
      [node, &context] { context.run = [node, &context] { return restart_switch(*node, context); }; });
}

}  // namespace vmlane::cli
