// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/names.h"
#include "core/record.h"
#include "tests/support/plugin.h"
#include "tests/support/snapshot.h"

namespace vmlane::test {

// Black-box cases that every lane on a Linux bridge must pass; the parameter is the plugin's type.
class LaneTest : public PluginFixture, public ::testing::WithParamInterface<std::string> {
 protected:
  std::string plugin() const override { return GetParam(); }
  bool is_tap() const { return plugin() == "vmlane-tap"; }

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

// Runs the cases of `Suite` for each lane.
#define VMLANE_FOR_EACH_LANE(Suite)                                \
  INSTANTIATE_TEST_SUITE_P(                                        \
      Lane, Suite, ::testing::Values("vmlane-veth", "vmlane-tap"), \
      [](const ::testing::TestParamInfo<std::string>& lane) { return lane.param.substr(7); })

// Runs the cases of `Suite` for the tap lane alone.
#define VMLANE_FOR_TAP(Suite)                                            \
  INSTANTIATE_TEST_SUITE_P(Lane, Suite, ::testing::Values("vmlane-tap"), \
                           [](const ::testing::TestParamInfo<std::string>&) { return "tap"; })
