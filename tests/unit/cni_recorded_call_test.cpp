// SPDX-License-Identifier: Apache-2.0
// Calls of a plugin from the record of its ADD.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "cni/recorded_call.h"
#include "tests/support/host.h"

namespace vmlane::cni {
namespace {

class RecordedCallTest : public ::testing::Test {
 protected:
  void SetUp() override {
    test::spit(directory_.path() / "vmlane-veth", "#!/bin/sh\n");
    ::chmod((directory_.path() / "vmlane-veth").c_str(), 0755);
  }
  AttachmentRecord record(const std::string& version) const {
    AttachmentRecord record;
    record.key = {"blue", "c1", "net1"};
    record.plugin = "vmlane-veth";
    record.netconf = {{"name", "blue"}, {"type", "vmlane-veth"}, {"prevResult", {{"cniVersion", version}}}};
    if (!version.empty()) record.netconf["cniVersion"] = version;
    record.cni_args = "K8S_POD_NAME=p";
    record.cni_path = directory_.path();
    record.netns.path = "/run/netns/p";
    record.result = {{"cniVersion", "1.1.0"},
                     {"interfaces", {{{"name", "net1"}, {"mac", "02:00:00:00:00:01"}, {"mtu", 1500}}}},
                     {"ips", {{{"address", "192.0.2.5/24"}, {"interface", 0}}}}};
    return record;
  }

  test::TemporaryDirectory directory_;
  Environment caller_ = {{"PATH", "/bin"}, {"CNI_COMMAND", "GC"}, {"VMLANE_FAULT", "kill-after:1"}};
};

TEST_F(RecordedCallTest, SaysWhatTheRuntimeSaid) {
  const auto call = recorded_delete(caller_, record("1.0.0"));
  ASSERT_TRUE(call) << call.error().text();
  EXPECT_EQ(call->program, directory_.path() / "vmlane-veth");
  EXPECT_EQ(call->env, (Environment{{"PATH", "/bin"},
                                    {"CNI_COMMAND", "DEL"},
                                    {"CNI_CONTAINERID", "c1"},
                                    {"CNI_NETNS", "/run/netns/p"},
                                    {"CNI_IFNAME", "net1"},
                                    {"CNI_ARGS", "K8S_POD_NAME=p"},
                                    {"CNI_PATH", directory_.path().string()}}));
  EXPECT_EQ(Json::parse(call->input), record("1.0.0").netconf);
}

TEST_F(RecordedCallTest, CheckHasTheRecordedResultInAVersionThatHasCheck) {
  for (const auto& [version, expected] : std::map<std::string, std::string>{
           {"", "0.4.0"}, {"0.3.1", "0.4.0"}, {"0.4.0", "0.4.0"}, {"1.0.0", "1.0.0"}, {"1.1.0", "1.1.0"}}) {
    SCOPED_TRACE(version);
    const auto call = recorded_check(caller_, record(version));
    ASSERT_TRUE(call) << call.error().text();
    EXPECT_EQ(call->env.at("CNI_COMMAND"), "CHECK");
    const Json config = Json::parse(call->input);
    EXPECT_EQ(config["cniVersion"], expected);
    EXPECT_EQ(config["prevResult"]["cniVersion"], expected);
    EXPECT_EQ(config["prevResult"]["ips"][0]["address"], "192.0.2.5/24");
    EXPECT_EQ(config["prevResult"]["interfaces"][0].contains("mtu"), expected == "1.1.0");
  }
}

TEST_F(RecordedCallTest, PluginThatIsGoneIsNamedWithTheDirectories) {
  auto gone = record("1.0.0");
  gone.plugin = "vmlane-tap";
  for (const auto& call : {recorded_check(caller_, gone), recorded_delete(caller_, gone, "/nowhere")}) {
    ASSERT_FALSE(call);
    EXPECT_EQ(call.error().code, Code::kInvalidConfig);
    EXPECT_NE(call.error().text().find("vmlane-tap"), std::string::npos);
    EXPECT_NE(call.error().text().find(directory_.path().string()), std::string::npos);
  }
}

}  // namespace
}  // namespace vmlane::cni
