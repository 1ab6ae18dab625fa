// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "tests/conformance/lane_test.h"
#include "tests/support/frames.h"
#include "tests/support/guest.h"
#include "tests/support/traffic.h"

namespace vmlane::test {

using Bytes = std::vector<std::uint8_t>;

// A workload that sends frames of its choice, and the bridge, or the far end of a macvtap's lower device, at
// which they arrive or not.
class SenderTest : public LaneTest {
 protected:
  void attach(const Json& more) {
    Json keys = Json::object();
    if (!is_macvtap()) keys["isGateway"] = true;
    keys.update(more);
    conf_ = config(keys);
    const CniOutcome outcome = add(make_pod("a"), conf_);
    ASSERT_CNI_OK(outcome);
    result_ = *outcome.document;
    mac_ = MacAddress::parse(sandbox_interface(result_)["mac"].get<std::string>()).value();
    // What the bridge would bring up to the node, once the port is open.
    if (is_tap()) guest_.emplace("/run/netns/a", "tap0", mac_);
    if (is_macvtap()) guest_.emplace(FakeGuest::on_macvtap("/run/netns/a", "eth0", mac_));
    if (!guest_) wire_.emplace("/run/netns/a", "eth0");
    seen_.emplace("", is_macvtap() ? kFarEnd : "br1");
    ASSERT_TRUE(eventually([&] { return passes(make_test_frame(broadcast_mac(), mac_, "open?")); }));
  }
  void send(const Frame& frame) const { guest_ ? guest_->send(frame) : wire_->send(frame); }
  // Of the station behind the bridge or the lower device.
  MacAddress other_station() const {
    const Json link = link_of("", is_macvtap() ? kFarEnd : "br1");
    return MacAddress::parse(link["address"].get<std::string>()).value();
  }
  // Whether the frame reaches the bridge: it does before one that is known to pass.
  bool passes(const Frame& frame) {
    seen_->collect(std::chrono::milliseconds(0));
    const std::string mark = "mark " + std::to_string(count_++);
    send(frame);
    send(make_test_frame(broadcast_mac(), mac_, mark));
    bool found = false;
    seen_->receive(
        [&](const Frame& got) {
          found = found || is_same(got, frame);
          return carries(got, mark);
        },
        std::chrono::seconds(2));
    return found;
  }
  // The kernel hands a packet socket the frame without its outermost tag.
  static bool is_same(const Frame& got, const Frame& sent) {
    if (got == sent) return true;
    Frame bare = sent;
    bare.erase(bare.begin() + 12, bare.begin() + 16);
    return got == bare;
  }
  std::string host_link() const { return host_link_of(id_of())["ifname"]; }

  static constexpr const char* kFarEnd = "lower0-far";

  Json conf_;
  Json result_;
  MacAddress mac_;
  std::optional<FakeGuest> guest_;
  std::optional<PacketSocket> wire_;
  std::optional<PacketSocket> seen_;
  int count_ = 0;
};

}  // namespace vmlane::test
