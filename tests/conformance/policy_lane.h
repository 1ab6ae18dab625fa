// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <string>

#include "ebpf/policy_tables.h"
#include "policy/objects.h"
#include "policy/store.h"
#include "tests/conformance/lane_test.h"
#include "tests/support/frames.h"
#include "tests/support/guest.h"
#include "tests/support/policy_frames.h"
#include "tests/support/result.h"
#include "tests/support/traffic.h"

namespace vmlane::test {

inline constexpr MacAddress kOutside{{0x02, 0, 0, 0, 0, 0x77}};

inline IpAddress ip(const std::string& text) {
  return IpAddress::parse(text).value();
}

// A macvtap as QEMU has it; a packet socket on it would see what no program has judged yet.
class MacvtapGuest {
 public:
  explicit MacvtapGuest(const std::string& device)
      : fd_(::open(device.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC)) {
    if (!fd_) throw std::runtime_error("cannot open " + device);
  }
  void send(const Frame& frame) const {
    Frame with_header(kVirtioHeader);
    with_header.insert(with_header.end(), frame.begin(), frame.end());
    EXPECT_EQ(::write(fd_.get(), with_header.data(), with_header.size()), std::ssize(with_header));
  }
  std::optional<Frame> receive(const std::function<bool(const Frame&)>& wanted,
                               std::chrono::milliseconds limit) const {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (std::chrono::steady_clock::now() < deadline) {
      pollfd ready{fd_.get(), POLLIN, 0};
      ::poll(&ready, 1, 10);
      Frame frame(65536);
      const ssize_t got = ::read(fd_.get(), frame.data(), frame.size());
      if (got <= kVirtioHeader) continue;
      frame.resize(static_cast<std::size_t>(got));
      frame.erase(frame.begin(), frame.begin() + kVirtioHeader);
      if (wanted(frame)) return frame;
    }
    return std::nullopt;
  }

 private:
  static constexpr std::ptrdiff_t kVirtioHeader = 10;
  Fd fd_;
};

// A workload, and somebody on its network who is not the node.
class PolicyOnALane : public LaneTest {
 protected:
  void attach(const Json& more) {
    Json ipam = host_local();
    ipam["ranges"].push_back(Json::array({{{"subnet", "2001:db8:1::/64"}}}));
    Json keys = {{"ipam", ipam}};
    if (!is_macvtap()) keys["isGateway"] = true;
    keys.update(more);
    conf_ = config(keys);
    CniCall request = call("ADD", make_pod("a").path(), conf_);
    request.args = "IgnoreUnknown=true;K8S_POD_NAMESPACE=blue;K8S_POD_NAME=virt-launcher-c1-abcde";
    const CniOutcome outcome = run_call(request);
    ASSERT_CNI_OK(outcome);
    mac_ = MacAddress::parse(sandbox_interface(*outcome.document)["mac"].get<std::string>()).value();
    result_ = *outcome.document;
    if (is_tap()) guest_.emplace("/run/netns/a", "tap0", mac_);
    if (!is_guest_lane()) wire_.emplace("/run/netns/a", "eth0");
    if (is_macvtap()) macvtap_.emplace(record()["handles"]["device"].get<std::string>());
    connect_outside();
    ASSERT_TRUE(eventually([&] { return arrives(mark(), true); }));
  }
  void connect_outside() {
    if (is_macvtap()) {
      outside_.emplace("", std::string(kLowerDevice) + "-far");
      return;
    }
    const Pod& far = make_pod("outside");
    must({"ip", "link", "add", "out1", "type", "veth", "peer", "name", "out0", "netns", far.name()});
    must({"ip", "link", "set", "out1", "master", "br1", "up"});
    ASSERT_TRUE(far.run({"ip", "link", "set", "out0", "up"}).ok());
    outside_.emplace(far.path(), "out0");
  }
  // What policy lets through always: by it one knows that what was sent before has come, or never will.
  Frame mark() {
    return make_arp_announcement(kOutside, ip("198.51.100." + std::to_string(marks_++ % 250 + 1)));
  }
  Json record() const { return Json::parse(slurp(record_file(id_of()))); }
  Frame frame_of(const PacketSpec& spec, bool inward) const {
    Frame frame = make_packet(spec);
    std::ranges::copy(inward ? mac_.bytes : kOutside.bytes, frame.begin());
    std::ranges::copy(inward ? kOutside.bytes : mac_.bytes, frame.begin() + 6);
    return frame;
  }
  void send(const Frame& frame, bool inward) const {
    if (inward) {
      outside_->send(frame);
    } else if (is_macvtap()) {
      macvtap_->send(frame);
    } else {
      is_tap() ? guest_->send(frame) : wire_->send(frame);
    }
  }
  bool arrives(const Frame& frame, bool inward) const {
    send(frame, inward);
    return receive(inward, [&](const Frame& got) { return got == frame; });
  }
  bool receive(bool inward, const std::function<bool(const Frame&)>& wanted) const {
    const std::chrono::seconds limit(2);
    if (!inward) return outside_->receive(wanted, limit).has_value();
    if (is_macvtap()) return macvtap_->receive(wanted, limit).has_value();
    return (is_tap() ? guest_->receive(wanted, limit) : wire_->receive(wanted, limit)).has_value();
  }
  bool passes(const PacketSpec& spec, bool inward) { return comes(frame_of(spec, inward), inward); }
  bool comes(const Frame& frame, bool inward) {
    Frame after = inward ? mark() : make_arp_announcement(mac_, ip("192.0.2.2"));
    // In its padding.
    if (!inward) after.back() = static_cast<std::uint8_t>(marks_++);
    send(frame, inward);
    send(after, inward);
    bool found = false;
    EXPECT_TRUE(receive(inward, [&](const Frame& got) {
      found = found || got == frame;
      return got == after;
    })) << "the mark is lost";
    return found;
  }
  bool enters(const PacketSpec& spec) { return passes(spec, true); }
  bool leaves(const PacketSpec& spec) { return passes(spec, false); }

  PacketSpec to_workload(bool v6, std::uint16_t port, const std::string& host = "77") const {
    return {.source = ip(v6 ? "2001:db8:1::" + host : "192.0.2." + host),
            .destination = ip(v6 ? "2001:db8:1::2" : "192.0.2.2"),
            .destination_port = port};
  }
  // Puts objects in force, of which `pod` is the workload.
  void publish_objects(const policy::Objects& objects, const std::string& pod) {
    if (!tables_) tables_.emplace(value_of(ebpf::PolicyTables::open(node())));
    ASSERT_TRUE(objects.problems.empty()) << objects.problems.front().text();
    policy::Store store;
    store.put(objects);
    ASSERT_TRUE(succeeded(tables_->publish(tables_->generation() + 1, store.publish().block,
                                           {{id_of(), store.endpoint(pod, "default").value()}})));
  }

  Json conf_;
  Json result_;
  MacAddress mac_;
  std::optional<FakeGuest> guest_;
  std::optional<PacketSocket> wire_;
  std::optional<MacvtapGuest> macvtap_;
  std::optional<PacketSocket> outside_;
  std::optional<ebpf::PolicyTables> tables_;
  int marks_ = 0;
};

}  // namespace vmlane::test
