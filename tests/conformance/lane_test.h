// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/names.h"
#include "core/record.h"
#include "tests/support/plugin.h"
#include "tests/support/snapshot.h"

namespace vmlane::test {

// Black-box cases that lanes must pass; the parameter is the plugin's type.
class LaneTest : public PluginFixture, public ::testing::WithParamInterface<std::string> {
 protected:
  // With a lower device for macvtap, kLowerDevice, whose wire ends at <name>-far.
  void SetUp() override;
  void make_lower(const std::string& name) const;
  std::string plugin() const override { return GetParam(); }
  bool is_tap() const { return plugin() == "vmlane-tap"; }
  bool is_macvtap() const { return plugin() == "vmlane-macvtap"; }
  // Whether addresses are the guest's, and on no link.
  bool is_guest_lane() const { return is_tap() || is_macvtap(); }

  Snapshot snapshot() const { return take_snapshot(node(), ipam_dir(), pods()); }

  static std::string id_of(const std::string& container_id = "c1", const std::string& ifname = "eth0",
                           const std::string& network = "blue") {
    return names::attachment_id(network, container_id, ifname);
  }
  // The link on the host that carries the attachment's alias; null when there is none.
  static Json host_link_of(const std::string& id) {
    for (const Json& link : ip_json("", {"-d", "link"})) {
      if (link.value("ifalias", "").starts_with("vmlane:" + id + ":")) return link;
    }
    return nullptr;
  }
  // The link that carries the attachment's alias: the host end of its pair, macvtap's in its pod. Null when
  // there is none.
  Json owned_link_of(const std::string& id) const;
  // How many NICs are on br1 or on kLowerDevice.
  std::size_t nics() const;
  // Links on the host when nothing is attached, sorted.
  std::vector<std::string> idle_links() const;
  std::filesystem::path record_file(const std::string& id) const {
    return node().attachments_dir() / (id + ".json");
  }
  // Ports of a bridge, sorted.
  static std::vector<std::string> ports_of(const std::string& bridge) {
    std::vector<std::string> found;
    for (const Json& link : ip_json("", {"link"})) {
      if (link.value("master", "") == bridge) found.push_back(link.value("ifname", ""));
    }
    return found;
  }

  // The call fails with `code`, its error names each of `culprits`, and nothing is left behind.
  void expect_refused(const CniCall& call, Code code, const std::vector<std::string>& culprits) {
    const Snapshot before = snapshot();
    const CniOutcome outcome = run_call(call);
    EXPECT_CNI_ERROR(outcome, code);
    for (const std::string& culprit : culprits) {
      EXPECT_NE((outcome.message() + "\n" + outcome.details()).find(culprit), std::string::npos)
          << "the error does not name " << culprit << "\n"
          << outcome;
    }
    EXPECT_SNAP_CLEAN(before, snapshot());
  }
  // Runs calls at once, each in its own process; outcomes in the same order.
  std::vector<CniOutcome> run_at_once(const std::vector<CniCall>& calls) const;
};

// The sandbox interface of a result: the one with a non-empty sandbox; null unless there is exactly one.
Json sandbox_interface(const Json& result);

}  // namespace vmlane::test

#define VMLANE_INSTANTIATE_FOR(Suite, ...)         \
  INSTANTIATE_TEST_SUITE_P(                        \
      Lane, Suite, ::testing::Values(__VA_ARGS__), \
      [](const ::testing::TestParamInfo<std::string>& lane) { return lane.param.substr(7); })

// Runs the cases of `Suite` for each lane.
#define VMLANE_FOR_EACH_LANE(Suite) \
  VMLANE_INSTANTIATE_FOR(Suite, "vmlane-veth", "vmlane-tap", "vmlane-macvtap")

// Runs the cases of `Suite` for the lanes on a Linux bridge.
#define VMLANE_FOR_BRIDGE_LANES(Suite) VMLANE_INSTANTIATE_FOR(Suite, "vmlane-veth", "vmlane-tap")

// Runs the cases of `Suite` for the tap lane alone.
#define VMLANE_FOR_TAP(Suite) VMLANE_INSTANTIATE_FOR(Suite, "vmlane-tap")
