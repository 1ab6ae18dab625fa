// SPDX-License-Identifier: Apache-2.0
// vmlanectl switch capture
#include <CLI/CLI.hpp>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <thread>

#include "cli/app.h"
#include "cli/node_source.h"
#include "cli/output_file.h"
#include "cli/switch_commands.h"

namespace vmlane::cli {
namespace {

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
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string pcap_header() {
  std::string out;
  constexpr std::uint32_t kMagic = 0xa1b23c4d;
  constexpr std::uint32_t kEthernet = 1;
  constexpr std::uint32_t kSnapLength = 65536;
  put(out, kMagic);
  put(out, std::uint16_t{2});
  put(out, std::uint16_t{4});
  put(out, std::uint64_t{0});
  put(out, kSnapLength);
  put(out, kEthernet);
  return out;
}

std::string pcap_frame(const Json& frame) {
  std::string out;
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
  return out + bytes;
}

struct CaptureOrder {
  NodeSource node;
  std::string port;
  std::string file;
  unsigned frames = 100;
  unsigned bytes = 256;
  unsigned seconds = 60;
};

Result<> run_capture(const CaptureOrder& order, const Context& context) {
  VMLANE_ASSIGN(const auto config, order.node.read(context));
  std::optional<OutputFile> file;
  if (!order.file.empty()) {
    VMLANE_ASSIGN(OutputFile opened, OutputFile::open(order.file));
    file.emplace(std::move(opened));
  }
  VMLANE_ASSIGN(auto client, connect_switch(config));
  VMLANE_TRY(client.call(
      "capture.start",
      {{"port", order.port}, {"frames", order.frames}, {"bytes", order.bytes}, {"seconds", order.seconds}}));
  if (file) {
    VMLANE_TRY(file->begin());
    VMLANE_TRY(file->write(pcap_header()));
  }
  constexpr auto kPoll = std::chrono::milliseconds(100);
  for (;;) {
    VMLANE_ASSIGN(const Json got, client.call("capture.read", {{"port", order.port}}));
    for (const Json& frame : got["frames"]) {
      if (file) {
        VMLANE_TRY(file->write(pcap_frame(frame)));
      } else {
        context.out() << frame_line(frame);
      }
    }
    context.out() << std::flush;
    if (got.value("over", true)) return {};
    std::this_thread::sleep_for(kPoll);
  }
}

}  // namespace

void add_switch_capture(CLI::App& group, Context& context) {
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
  command->callback([order, &context] {
    context.run = [order, &context] { return context.finish(run_capture(*order, context)); };
  });
}

}  // namespace vmlane::cli
