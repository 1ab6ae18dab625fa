// SPDX-License-Identifier: Apache-2.0
// What an operator looks at frames with, and holds them back with: capture, trace, drain.
#include <netinet/in.h>

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/hex.h"
#include "dataplane/crafted_packet.h"
#include "dataplane/switch.h"

namespace vmlane::dataplane {
namespace {

constexpr std::int64_t kMaxPort = 65535;

std::uint64_t nanoseconds_of(std::int64_t seconds) {
  return static_cast<std::uint64_t>(std::chrono::nanoseconds(std::chrono::seconds(seconds)).count());
}

// Of a frame at `time` of clock_ns(), nanoseconds since 1970.
std::int64_t wall_time(std::uint64_t time) {
  const std::uint64_t now = clock_ns();
  const auto wall = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(wall).count() -
         static_cast<std::int64_t>(now - std::min(time, now));
}

template <class T>
Result<std::optional<T>> parsed(ObjectReader& reader, std::string_view key, std::string_view expected) {
  VMLANE_ASSIGN(const auto text, reader.string(key));
  if (!text) return std::nullopt;
  const auto value = T::parse(*text);
  if (!value) return reader.wrong(key, expected);
  return *value;
}

Result<std::optional<std::uint8_t>> protocol_in(ObjectReader& reader) {
  static const std::map<std::string, std::uint8_t> names = {
      {"tcp", IPPROTO_TCP}, {"udp", IPPROTO_UDP}, {"icmp", IPPROTO_ICMP}, {"icmpv6", IPPROTO_ICMPV6}};
  VMLANE_ASSIGN(const auto name, reader.string("protocol"));
  if (!name) return std::nullopt;
  const auto known = names.find(*name);
  if (known == names.end()) return reader.wrong("protocol", "tcp, udp, icmp or icmpv6");
  return known->second;
}

Result<std::optional<std::uint16_t>> port_in(ObjectReader& reader, std::string_view key) {
  VMLANE_ASSIGN(const auto number, reader.integer(key, 0, kMaxPort));
  return number ? std::optional(static_cast<std::uint16_t>(*number)) : std::nullopt;
}

Result<FrameMatch> match_in(ObjectReader& reader) {
  FrameMatch match;
  constexpr std::string_view kMac = "a MAC address";
  constexpr std::string_view kAddress = "an IP address";
  VMLANE_ASSIGN(match.source_mac, parsed<MacAddress>(reader, "source_mac", kMac));
  VMLANE_ASSIGN(match.destination_mac, parsed<MacAddress>(reader, "destination_mac", kMac));
  VMLANE_ASSIGN(match.source, parsed<IpAddress>(reader, "source", kAddress));
  VMLANE_ASSIGN(match.destination, parsed<IpAddress>(reader, "destination", kAddress));
  VMLANE_ASSIGN(match.protocol, protocol_in(reader));
  VMLANE_ASSIGN(match.source_port, port_in(reader, "source_port"));
  VMLANE_ASSIGN(match.destination_port, port_in(reader, "destination_port"));
  return match;
}

Result<> refuse_unknown(const ObjectReader& reader) {
  if (const auto unknown = reader.unknown(); !unknown.empty())
    return fail(Code::kInvalidConfig, "params has no key \"" + unknown.front() + "\"");
  return {};
}

Json trace_json(const Trace& trace, const PolicyLog& names) {
  Json steps = Json::array();
  for (const Trace::Step& step : trace.steps) {
    Json row{{"stage", step.stage}, {"port", step.port}, {"outcome", step.outcome}};
    if (step.policy) row["policy"] = names.verdict(*step.policy);
    steps.push_back(std::move(row));
  }
  Json dropped = Json::array();
  for (const Trace::Dropped& drop : trace.dropped)
    dropped.push_back({{"port", drop.port}, {"reason", kDropNames[static_cast<std::size_t>(drop.reason)]}});
  return {{"time", wall_time(trace.time)}, {"length", trace.length},   {"bytes", to_hex(trace.bytes)},
          {"steps", std::move(steps)},     {"sent", Json(trace.sent)}, {"dropped", std::move(dropped)},
          {"rehearsed", trace.rehearsed}};
}

}  // namespace

Result<Json> Switch::start_capture(const Json& params, uid_t caller) {
  VMLANE_ASSIGN(Attached* const attached, port_named(params));
  ObjectReader reader(params, "params.", Code::kInvalidConfig);
  VMLANE_ASSIGN(const auto frames, reader.integer("frames", 1, Capture::kMostFrames));
  VMLANE_ASSIGN(const auto bytes, reader.integer("bytes", 14, Capture::kMostBytes));
  VMLANE_ASSIGN(const auto seconds, reader.integer("seconds", 1, Capture::kMostSeconds));
  constexpr std::int64_t kFrames = 100;
  constexpr std::int64_t kBytes = 256;
  constexpr std::int64_t kSeconds = 60;
  const auto time = static_cast<std::uint64_t>(
      std::chrono::nanoseconds(std::chrono::seconds(seconds.value_or(kSeconds))).count());
  bool busy = false;
  worker_->mailbox().run([&] {
    Forwarder& forwarder = worker_->forwarder();
    const Capture* running = forwarder.capture_of(*attached->port);
    busy = running != nullptr && !running->over(clock_ns());
    if (busy) return;
    forwarder.capture(
        *attached->port,
        std::make_unique<Capture>(static_cast<std::uint32_t>(frames.value_or(kFrames)),
                                  static_cast<std::uint32_t>(bytes.value_or(kBytes)), clock_ns() + time));
  });
  if (busy)
    return fail(Code::kTryAgain, "somebody captures frames of port " + attached->spec.id,
                "wait until that has ended, after 600 seconds at the latest");
  log_.warning("frames of a port are captured",
               {{"attachment", attached->spec.id}, {"uid", std::to_string(caller)}});
  return Json{{"port", attached->spec.id}};
}

// What was captured since the last call; `over` when nothing more will come.
Result<Json> Switch::read_capture(const Json& params) {
  VMLANE_ASSIGN(Attached* const attached, port_named(params));
  std::vector<Capture::Frame> frames;
  bool over = true;
  worker_->mailbox().run([&] {
    Forwarder& forwarder = worker_->forwarder();
    Capture* capture = forwarder.capture_of(*attached->port);
    if (capture == nullptr) return;
    frames = capture->take();
    over = capture->over(clock_ns());
    if (over) forwarder.capture(*attached->port, nullptr);
  });
  const std::uint64_t now = clock_ns();
  const auto wall = std::chrono::system_clock::now().time_since_epoch();
  Json rows = Json::array();
  for (const Capture::Frame& frame : frames) {
    const auto time = std::chrono::duration_cast<std::chrono::nanoseconds>(wall).count() -
                      static_cast<std::int64_t>(now - std::min(frame.time, now));
    rows.push_back(
        {{"time", time}, {"sent", frame.sent}, {"length", frame.length}, {"bytes", to_hex(frame.bytes)}});
  }
  return Json{{"over", over}, {"frames", std::move(rows)}};
}

// A guest's port, or an uplink by its tap.
Result<Switch::TracedPort> Switch::traced_port(ObjectReader& reader, const Json& params) {
  VMLANE_ASSIGN(const std::string name, reader.text("port"));
  for (const auto& [network, uplink] : uplinks_) {
    if (uplink.tap == name && uplink.port) return TracedPort{uplink.port.get(), nullptr, network};
  }
  VMLANE_ASSIGN(Attached* const attached, port_named(params));
  return TracedPort{attached->port.get(), &attached->spec, attached->spec.network};
}

// The frame that the call describes. What is not said is as the guest on the port would have it.
Result<std::vector<std::uint8_t>> Switch::crafted(const FrameMatch& wanted, const TracedPort& from) const {
  const auto lacks = [](const std::string& key, const std::string& why) {
    return fail(Code::kInvalidConfig, "key \"params." + key + "\" is missing: " + why);
  };
  if (!wanted.destination) return lacks("destination", "an IP address, or the whole frame as \"frame\"");
  CraftedPacket packet{.destination = *wanted.destination};
  const bool v6 = packet.destination.v6;
  std::optional<IpAddress> source = wanted.source;
  if (!source && from.spec != nullptr) {
    const auto own = std::ranges::find(from.spec->addresses, v6, &IpAddress::v6);
    if (own != from.spec->addresses.end()) source = *own;
  }
  if (!source) return lacks("source", "the port has no address of that family in its record");
  if (source->v6 != v6) return fail(Code::kInvalidConfig, "source and destination are of different families");
  packet.source = *source;
  if (!wanted.source_mac && from.spec == nullptr)
    return lacks("source_mac", "many stations are behind an uplink");
  packet.source_mac = wanted.source_mac ? *wanted.source_mac : from.spec->mac;
  std::optional<MacAddress> destination = wanted.destination_mac;
  for (const auto& [id, attached] : ports_) {
    if (destination || attached.spec.network != from.network) continue;
    if (std::ranges::find(attached.spec.addresses, packet.destination) != attached.spec.addresses.end())
      destination = attached.spec.mac;
  }
  if (!destination) {
    return lacks("destination_mac", "no guest of the switch has " + packet.destination.to_string() +
                                        " in its record, so it may be anybody's");
  }
  packet.destination_mac = *destination;
  packet.protocol = wanted.protocol.value_or(IPPROTO_TCP);
  packet.source_port = wanted.source_port.value_or(packet.source_port);
  packet.destination_port = wanted.destination_port.value_or(packet.destination_port);
  return make_packet(packet);
}

// What would become of one frame.
Result<Json> Switch::trace(const Json& params, uid_t caller) {
  ObjectReader reader(params, "params.", Code::kInvalidConfig);
  VMLANE_ASSIGN(const TracedPort from, traced_port(reader, params));
  VMLANE_ASSIGN(const std::string digits, reader.text("frame"));
  VMLANE_ASSIGN(const FrameMatch wanted, match_in(reader));
  VMLANE_TRY(refuse_unknown(reader));
  std::vector<std::uint8_t> frame(digits.size() / 2);
  if (digits.empty()) {
    VMLANE_ASSIGN(frame, crafted(wanted, from));
  } else if (frame.size() < sizeof(rte_ether_hdr) || frame.size() > Trace::kMostBytes ||
             !from_hex(digits, frame)) {
    return reader.wrong("frame", "14 to 2048 bytes as hex digits, from the Ethernet header on");
  }
  log_.warning("a frame is traced", {{"port", from.port->name()}, {"uid", std::to_string(caller)}});
  std::optional<Result<Trace>> traced;
  worker_->mailbox().run([&] { traced = worker_->forwarder().rehearse(*from.port, frame, clock_ns()); });
  if (!traced) return fail(Code::kTryAgain, "the switch is about to end");
  if (!*traced) return fail(traced->error());
  return trace_json(**traced, policy_log_);
}

// Follows frames as they come.
Result<Json> Switch::start_trace(const Json& params, uid_t caller) {
  ObjectReader reader(params, "params.", Code::kInvalidConfig);
  VMLANE_ASSIGN(const TracedPort from, traced_port(reader, params));
  VMLANE_ASSIGN(const FrameMatch match, match_in(reader));
  VMLANE_ASSIGN(const auto frames, reader.integer("frames", 1, Tracer::kMostFrames));
  VMLANE_ASSIGN(const auto seconds, reader.integer("seconds", 1, Tracer::kMostSeconds));
  VMLANE_TRY(refuse_unknown(reader));
  constexpr std::int64_t kFrames = 10;
  constexpr std::int64_t kSeconds = 60;
  bool busy = false;
  worker_->mailbox().run([&] {
    Forwarder& forwarder = worker_->forwarder();
    const std::uint64_t now = clock_ns();
    const Tracer* running = forwarder.tracer_of(*from.port);
    busy = running != nullptr && !running->over(now);
    if (busy) return;
    forwarder.trace(*from.port,
                    std::make_unique<Tracer>(match, static_cast<std::uint32_t>(frames.value_or(kFrames)),
                                             now + nanoseconds_of(seconds.value_or(kSeconds))));
  });
  if (busy)
    return fail(Code::kTryAgain, "somebody follows frames of port " + from.port->name(),
                "wait until that has ended, after 600 seconds at the latest");
  log_.warning("frames of a port are followed",
               {{"port", from.port->name()}, {"uid", std::to_string(caller)}});
  return Json{{"port", from.port->name()}};
}

Result<Json> Switch::read_trace(const Json& params) {
  ObjectReader reader(params, "params.", Code::kInvalidConfig);
  VMLANE_ASSIGN(const TracedPort from, traced_port(reader, params));
  VMLANE_TRY(refuse_unknown(reader));
  std::vector<Trace> traces;
  bool over = true;
  worker_->mailbox().run([&] {
    Forwarder& forwarder = worker_->forwarder();
    Tracer* tracer = forwarder.tracer_of(*from.port);
    if (tracer == nullptr) return;
    traces = tracer->take();
    over = tracer->over(clock_ns());
    if (over) forwarder.trace(*from.port, nullptr);
  });
  Json rows = Json::array();
  for (const Trace& trace : traces) rows.push_back(trace_json(trace, policy_log_));
  return Json{{"over", over}, {"frames", std::move(rows)}};
}

// The worker moves frames when the keeper has said so and no operator holds it.
void Switch::hold() {
  worker_->hold(waits_for_keeper_ || drained_until_.has_value());
}

Result<Json> Switch::drain(const Json& params, uid_t caller) {
  ObjectReader reader(params, "params.", Code::kInvalidConfig);
  VMLANE_ASSIGN(const auto asked, reader.integer("seconds", 1, kLongestDrain.count()));
  VMLANE_TRY(refuse_unknown(reader));
  const std::chrono::seconds time(asked.value_or(kDrain.count()));
  drained_until_ = Clock::now() + time;
  hold();
  std::uint64_t waiting = 0;
  worker_->mailbox().run([&] {
    for (const auto& [id, attached] : ports_) waiting += attached.port->waiting();
  });
  log_.warning("the switch takes no more frames",
               {{"seconds", std::to_string(time.count())}, {"uid", std::to_string(caller)}});
  return Json{{"drained", true},
              {"seconds", time.count()},
              {"on_the_way", rte_mempool_in_use_count(pool_)},
              {"waiting", waiting}};
}

Result<Json> Switch::resume() {
  if (!drained_until_) return fail(Code::kNotFound, "the switch is not drained");
  end_drain("an operator");
  return Json{{"drained", false}};
}

void Switch::end_drain(const std::string& by) {
  drained_until_.reset();
  hold();
  log_.info("the switch takes frames again", {{"by", by}});
}

}  // namespace vmlane::dataplane
