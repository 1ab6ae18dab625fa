// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <fstream>
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
    "  vmlanectl switch quarantine 3f2a --reason \"sends what it must not\"\n"
    "  vmlanectl switch release 3f2a\n"
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

int ask_switch(const NodeSource& node, const Question& question, const Context& context) {
  const auto config = node.read(context);
  if (!config) return context.failed(config.error());
  auto client =
      json_rpc::Client::connect(question.of_keeper ? keeper_socket(*config) : config->switch_socket());
  if (!client)
    return context.failed(client.error().wrap(question.of_keeper ? "the switch's keeper cannot be asked"
                                                                 : "the switch cannot be asked"));
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
  auto client = json_rpc::Client::connect(config->switch_socket());
  if (!client) return context.failed(client.error().wrap("the switch cannot be asked"));
  Json params = {{"port", order.port}};
  if (!order.reason.empty()) params["reason"] = order.reason;
  const auto answer = client->call(method, params);
  if (!answer) return context.failed(answer.error());
  context.out() << render_object(context.format, *answer);
  return 0;
}

// A frame of a capture as a line: when, which way, how long, from whom to whom, of what type.
std::string frame_line(const Json& frame) {
  constexpr std::int64_t kNanoseconds = 1'000'000'000;
  constexpr std::size_t kMacDigits = 12;
  constexpr std::size_t kTypeDigits = 4;
  const std::int64_t time = frame.value("time", std::int64_t{0});
  const std::string bytes = frame.value("bytes", "");
  const auto mac = [&](std::size_t at) {
    std::string text;
    for (std::size_t i = at; i < at + kMacDigits && i + 1 < bytes.size(); i += 2)
      text += (text.empty() ? "" : ":") + bytes.substr(i, 2);
    return text;
  };
  std::string fraction = std::to_string(time % kNanoseconds);
  fraction.insert(0, 9 - fraction.size(), '0');
  const std::string type =
      bytes.size() >= 2 * kMacDigits + kTypeDigits ? bytes.substr(2 * kMacDigits, kTypeDigits) : "";
  return std::to_string(time / kNanoseconds) + "." + fraction +
         (frame.value("sent", false) ? " sent " : " got  ") + mac(kMacDigits) + " > " + mac(0) + " type 0x" +
         type + " length " + to_text(frame["length"]) + "\n";
}

// The file format of libpcap, with nanoseconds.
template <class T>
void put(std::ostream& out, T value) {
  out.write(reinterpret_cast<const char*>(&value), sizeof value);
}

void write_pcap_header(std::ostream& out) {
  constexpr std::uint32_t kMagic = 0xa1b23c4d;
  constexpr std::uint32_t kEthernet = 1;
  constexpr std::uint32_t kSnapLength = 65536;
  put(out, kMagic);
  put(out, std::uint16_t{2});
  put(out, std::uint16_t{4});
  put(out, std::uint64_t{0});
  put(out, kSnapLength);
  put(out, kEthernet);
}

void write_pcap_frame(std::ostream& out, const Json& frame) {
  constexpr std::int64_t kNanoseconds = 1'000'000'000;
  constexpr int kHex = 16;
  const std::int64_t time = frame.value("time", std::int64_t{0});
  const std::string digits = frame.value("bytes", "");
  std::string bytes;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
    unsigned byte = 0;
    std::from_chars(&digits[i], &digits[i] + 2, byte, kHex);
    bytes += static_cast<char>(byte);
  }
  put(out, static_cast<std::uint32_t>(time / kNanoseconds));
  put(out, static_cast<std::uint32_t>(time % kNanoseconds));
  put(out, static_cast<std::uint32_t>(bytes.size()));
  put(out, frame.value("length", std::uint32_t{0}));
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

struct CaptureOrder {
  NodeSource node;
  std::string port;
  std::string file;
  unsigned frames = 100;
  unsigned bytes = 256;
  unsigned seconds = 60;
};

int capture(const CaptureOrder& order, const Context& context) {
  const auto config = order.node.read(context);
  if (!config) return context.failed(config.error());
  auto client = json_rpc::Client::connect(config->switch_socket());
  if (!client) return context.failed(client.error().wrap("the switch cannot be asked"));
  std::ofstream file;
  if (!order.file.empty()) {
    file.open(order.file, std::ios::binary | std::ios::trunc);
    if (!file) return context.failed(io_error("cannot write " + order.file, errno));
    write_pcap_header(file);
  }
  const auto started = client->call(
      "capture.start",
      {{"port", order.port}, {"frames", order.frames}, {"bytes", order.bytes}, {"seconds", order.seconds}});
  if (!started) return context.failed(started.error());
  constexpr auto kPoll = std::chrono::milliseconds(100);
  for (;;) {
    const auto got = client->call("capture.read", {{"port", order.port}});
    if (!got) return context.failed(got.error());
    for (const Json& frame : (*got)["frames"]) {
      if (file.is_open()) {
        write_pcap_frame(file, frame);
      } else {
        context.out() << frame_line(frame);
      }
    }
    context.out() << std::flush;
    if (got->value("over", true)) break;
    std::this_thread::sleep_for(kPoll);
  }
  if (file.is_open() && !file.flush()) return context.failed(io_error("cannot write " + order.file, errno));
  return 0;
}

void add_capture(CLI::App& group, Context& context) {
  const auto order = std::make_shared<CaptureOrder>();
  CLI::App* command =
      group.add_subcommand("capture", "Show the frames that a port's guest sends and gets; for root");
  command->add_option("PORT", order->port, "an attachment id, or the beginning of one")->required();
  command->add_option("--frames", order->frames, "how many at most")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--bytes", order->bytes, "of each frame, at most")
      ->check(CLI::Range(14, 2048))
      ->capture_default_str();
  command->add_option("--seconds", order->seconds, "for how long at most")
      ->check(CLI::Range(1, 600))
      ->capture_default_str();
  command->add_option("-w,--write", order->file, "a file to write them to, in the format of libpcap");
  order->node.add_options(*command);
  command->callback(
      [order, &context] { context.run = [order, &context] { return capture(*order, context); }; });
}

int show_metrics(const NodeSource& node, const Context& context) {
  const auto config = node.read(context);
  if (!config) return context.failed(config.error());
  auto client = json_rpc::Client::connect(config->switch_socket());
  if (!client) return context.failed(client.error().wrap("the switch cannot be asked"));
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
  add_capture(*group, context);
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
