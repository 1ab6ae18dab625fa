// SPDX-License-Identifier: Apache-2.0
// vmlanectl switch trace
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <thread>

#include "cli/app.h"
#include "cli/node_source.h"
#include "cli/switch_commands.h"
#include "manifests/yaml.h"

namespace vmlane::cli {
namespace {

struct TraceOrder {
  NodeSource node;
  // By parameter, as the switch calls them; empty: not given.
  std::string port;
  std::string frame;
  std::string source_mac;
  std::string destination_mac;
  std::string source;
  std::string destination;
  std::string protocol;
  int source_port = -1;
  int destination_port = -1;
  bool live = false;
  unsigned frames = 10;
  unsigned seconds = 60;
};

Json parameters(const TraceOrder& order) {
  Json params = {{"port", order.port}};
  const auto add = [&](const char* key, const std::string& value) {
    if (!value.empty()) params[key] = value;
  };
  add("frame", order.frame);
  add("source_mac", order.source_mac);
  add("destination_mac", order.destination_mac);
  add("source", order.source);
  add("destination", order.destination);
  add("protocol", order.protocol);
  if (order.source_port >= 0) params["source_port"] = order.source_port;
  if (order.destination_port >= 0) params["destination_port"] = order.destination_port;
  if (order.live) params.update({{"frames", order.frames}, {"seconds", order.seconds}});
  return params;
}

// " by blue/guard rule 1", or why without one.
std::string verdict_text(const Json& verdict) {
  if (!verdict.is_object()) return "";
  std::string text = verdict.value("audit", false) ? " (would be denied: " : " (";
  text += verdict.value("reason", "");
  if (verdict["policy"].is_string()) text += " " + verdict.value("policy", "");
  if (verdict["rule"].is_number()) text += " rule " + to_text(verdict["rule"]);
  return text + ")";
}

std::string trace_text(const Json& trace) {
  constexpr std::size_t kStage = 16;
  std::string text = "frame of " + to_text(trace["length"]) + " bytes\n";
  for (const Json& step : trace["steps"]) {
    std::string stage = step.value("stage", "");
    stage.resize(std::max(kStage, stage.size()), ' ');
    text += "  " + stage + " " + step.value("port", "") + "  " + step.value("outcome", "") +
            verdict_text(step.value("policy", Json())) + "\n";
  }
  const bool rehearsed = trace.value("rehearsed", false);
  for (const Json& port : trace["sent"])
    text += std::string("  => ") + (rehearsed ? "would be sent to " : "sent to ") + port.get<std::string>() +
            "\n";
  for (const Json& drop : trace["dropped"])
    text += std::string("  => ") + (rehearsed ? "would be dropped at " : "dropped at ") +
            drop.value("port", "") + ": " + drop.value("reason", "") + "\n";
  return text;
}

// One after another: tables as text, JSON one object a line, YAML as documents.
void show(const Json& trace, const Context& context) {
  switch (context.format) {
    case OutputFormat::kTable:
      context.out() << trace_text(trace);
      break;
    case OutputFormat::kJson:
      context.out() << to_text(trace) << "\n";
      break;
    case OutputFormat::kYaml:
      context.out() << "---\n" << to_yaml(trace);
      break;
  }
  context.out() << std::flush;
}

Result<> run_trace(const TraceOrder& order, const Context& context) {
  VMLANE_ASSIGN(const auto config, order.node.read(context));
  VMLANE_ASSIGN(auto client, connect_switch(config));
  if (!order.live) {
    VMLANE_ASSIGN(const Json trace, client.call("trace", parameters(order)));
    show(trace, context);
    return {};
  }
  VMLANE_TRY(client.call("trace.start", parameters(order)));
  constexpr auto kPoll = std::chrono::milliseconds(100);
  for (;;) {
    VMLANE_ASSIGN(const Json got, client.call("trace.read", {{"port", order.port}}));
    for (const Json& trace : got["frames"]) show(trace, context);
    if (got.value("over", true)) return {};
    std::this_thread::sleep_for(kPoll);
  }
}

}  // namespace

void add_switch_trace(CLI::App& group, Context& context) {
  constexpr int kMostPort = 65535;
  const auto order = std::make_shared<TraceOrder>();
  CLI::App* command = group.add_subcommand("trace",
                                           "Show step by step what the switch would do with a packet, or "
                                           "(--live) does with those that come; for root");
  command
      ->add_option("PORT", order->port,
                   "where it comes from: an attachment id, its beginning, or an uplink's tap")
      ->required();
  command->add_option("--destination", order->destination, "IP address")->type_name("ADDRESS");
  command->add_option("--protocol", order->protocol, "TCP's first packet unless said otherwise")
      ->check(CLI::IsMember({"tcp", "udp", "icmp", "icmpv6"}));
  command->add_option("--destination-port", order->destination_port, "80 unless said otherwise")
      ->check(CLI::Range(0, kMostPort));
  command
      ->add_option("--source", order->source, "IP address; that of the port's record unless said otherwise")
      ->type_name("ADDRESS");
  command->add_option("--source-port", order->source_port, "40000 unless said otherwise")
      ->check(CLI::Range(0, kMostPort));
  command
      ->add_option("--destination-mac", order->destination_mac,
                   "that of the guest with the address unless said otherwise")
      ->type_name("MAC");
  command->add_option("--source-mac", order->source_mac, "that of the port's record unless said otherwise")
      ->type_name("MAC");
  CLI::Option* frame = command->add_option("--frame", order->frame, "the whole frame instead, in hex digits")
                           ->type_name("HEX");
  CLI::Option* live = command->add_flag(
      "--live", order->live, "follow the next frames of the port; what else is given they must have");
  live->excludes(frame);
  command->add_option("--frames", order->frames, "how many at most")
      ->check(CLI::Range(1, 100))
      ->capture_default_str()
      ->needs(live);
  command->add_option("--seconds", order->seconds, "for how long at most")
      ->check(CLI::Range(1, 600))
      ->capture_default_str()
      ->needs(live);
  order->node.add_options(*command);
  add_output_option(*command, context);
  command->callback([order, &context] {
    context.run = [order, &context] { return context.finish(run_trace(*order, context)); };
  });
}

}  // namespace vmlane::cli
