// SPDX-License-Identifier: Apache-2.0
#include "perf/result.h"
#include "tests/support/host.h"
#include "tests/support/paths.h"
#include "tests/vm/guest.h"

namespace vmlane::test {
namespace {

class PerfVms : public HostFixture {
 protected:
  static void SetUpTestSuite() { guest_image(); }
};

// Every lane that runs a real VM, each by one boot.
TEST_F(PerfVms, MeasuresEveryLaneWithQemu) {
  ASSERT_FALSE(guest_image().initramfs.empty()) << "scripts/guest-image failed";
  const std::string out = directory() / "out";
  const auto ran = run(
      {built("vmlane-perf"), "run", "--guests", "qemu", "--duration", "0.4", "--epochs", "1", "--rounds", "2",
       "--rates", "200", "--allow-busy", "--guest-dir", guest_image().kernel.parent_path(), "--out", out},
      {.timeout = std::chrono::minutes(8)});
  ASSERT_TRUE(ran.ok()) << ran.err;
  const auto result = perf::read_result(out + "/result.json");
  ASSERT_TRUE(result) << result.error().text();
  std::vector<std::string> measured;
  for (const perf::LaneResult& lane : result->lanes) {
    if (lane.guest != "qemu") continue;
    // A peer's, which scripts/setup does not install.
    if (lane.name == "ovs-dpdk" && lane.status == "skipped") continue;
    EXPECT_EQ(lane.status, "ok") << lane.name << ": " << lane.reason;
    ASSERT_FALSE(lane.rtt.empty()) << lane.name;
    EXPECT_TRUE(perf::ratio_to_container(lane)) << lane.name;
    EXPECT_TRUE(lane.series.contains("tcp_stream_gbps")) << lane.name;
    EXPECT_TRUE(lane.series.contains("tcp_connections_per_second")) << lane.name;
    measured.push_back(lane.name);
  }
  std::erase(measured, "ovs-dpdk");
  EXPECT_EQ(measured, (std::vector<std::string>{"usernet", "passt", "tap-inpod-bridge", "tap", "macvtap",
                                                "vhost-user"}));
}

}  // namespace
}  // namespace vmlane::test
