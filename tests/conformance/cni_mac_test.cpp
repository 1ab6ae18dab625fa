// SPDX-License-Identifier: Apache-2.0
// Where the NIC's MAC comes from, and that everybody is told the one the link really has.
#include "tests/conformance/lane_test.h"
#include "tests/support/long_run.h"

namespace vmlane::test {
namespace {

class MacTest : public LaneTest {
 protected:
  void SetUp() override {
    LaneTest::SetUp();
    if (!IsSkipped()) make_pod("a");
  }
  Pod& pod() { return *pods().at("a"); }

  // ADD; the MAC in result, record and link, which must be the same.
  std::string mac_of(const CniCall& call) {
    const CniOutcome outcome = run_call(call);
    EXPECT_CNI_OK(outcome);
    if (!outcome.document) return "";
    const std::string mac = sandbox_interface(*outcome.document).value("mac", "");
    EXPECT_EQ(link_of(pod().path(), "eth0").value("address", ""), mac);
    EXPECT_EQ(Json::parse(slurp(record_file(id_of())))["mac"], mac);
    EXPECT_CNI_OK(del(pod().path(), call.config));
    return mac;
  }
  CniCall call_with(const Json& conf, const std::string& args = "IgnoreUnknown=1") {
    CniCall out = call("ADD", pod().path(), conf);
    out.args = args;
    return out;
  }
};

TEST_P(MacTest, F089_PrecedenceOfTheFourSources) {
  Json conf = config();
  EXPECT_TRUE(mac_of(call_with(conf)).starts_with("02:"));
  conf["mac"] = "02:00:00:00:00:04";
  EXPECT_EQ(mac_of(call_with(conf)), "02:00:00:00:00:04");
  EXPECT_EQ(mac_of(call_with(conf, "IgnoreUnknown=1;MAC=02:00:00:00:00:03")), "02:00:00:00:00:03");
  conf["args"] = {{"cni", {{"mac", "02:00:00:00:00:02"}}}};
  EXPECT_EQ(mac_of(call_with(conf, "IgnoreUnknown=1;MAC=02:00:00:00:00:03")), "02:00:00:00:00:02");
  conf["runtimeConfig"] = {{"mac", "02:00:00:00:00:01"}};
  EXPECT_EQ(mac_of(call_with(conf, "IgnoreUnknown=1;MAC=02:00:00:00:00:03")), "02:00:00:00:00:01");
}

TEST_P(MacTest, AnyLetterCaseIsReadAndLowerCaseIsTold) {
  EXPECT_EQ(mac_of(call_with(config({{"mac", "02:AB:cd:EF:00:01"}}))), "02:ab:cd:ef:00:01");
  EXPECT_EQ(mac_of(call_with(config(), "MAC=02-AB-CD-EF-00-02")), "02:ab:cd:ef:00:02");
}

TEST_P(MacTest, WithoutAWishTheMacIsStableForTheAttachment) {
  const std::string first = mac_of(call_with(config()));
  EXPECT_EQ(mac_of(call_with(config())), first);
  CniCall other = call_with(config());
  other.container_id = "c2";
  const CniOutcome outcome = run_call(other);
  ASSERT_CNI_OK(outcome);
  EXPECT_NE(sandbox_interface(*outcome.document)["mac"], first);
}

TEST_P(MacTest, BadMacsAreNamedWithTheirSource) {
  for (const char* bad : {"02:00:00:00:00", "zz:00:00:00:00:01", "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff",
                          "00:00:00:00:00:00"}) {
    expect_refused(call_with(config({{"mac", bad}})), Code::kInvalidConfig, {"\"mac\"", bad});
    expect_refused(call_with(config(), std::string("MAC=") + bad), Code::kBadEnvironment, {"CNI_ARGS", bad});
    expect_refused(call_with(config({{"args", {{"cni", {{"mac", bad}}}}}})), Code::kInvalidConfig,
                   {"args.cni.mac", bad});
    expect_refused(call_with(config({{"runtimeConfig", {{"mac", bad}}}})), Code::kInvalidConfig,
                   {"runtimeConfig.mac", bad});
  }
}

TEST_P(MacTest, F089_MacInTheResultIsStillTheLinksASecondLater) {
  const int count = rounds(5, 100);
  std::vector<std::pair<std::string, std::string>> told;  // interface, MAC
  for (int i = 0; i < count; i++) {
    const std::string ifname = "net" + std::to_string(i + 1);
    const CniOutcome outcome = add(pod(), config(), "c1", ifname);
    ASSERT_CNI_OK(outcome);
    told.emplace_back(ifname, sandbox_interface(*outcome.document)["mac"].get<std::string>());
  }
  sleep_ms(1000);
  for (const auto& [ifname, mac] : told) EXPECT_EQ(link_of(pod().path(), ifname)["address"], mac) << ifname;
}

VMLANE_FOR_EACH_LANE(MacTest);

}  // namespace
}  // namespace vmlane::test
