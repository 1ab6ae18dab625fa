// SPDX-License-Identifier: Apache-2.0
// The protocol's environment: which variables an operation needs, how their values are judged, in which order
// it is said. The order and the texts are those of the Go skeleton, which runtimes and their tests rely on.
#include <algorithm>

#include "tests/conformance/lane_test.h"

namespace vmlane::test {
namespace {

class EnvironmentTest : public LaneTest {
 protected:
  // A call with all variables of `command`, on a pod that is there.
  CniCall complete(const std::string& command) {
    if (pods().empty()) make_pod("a");
    CniCall call = this->call(command, "/run/netns/a", config());
    if (command == "CHECK") call.config["prevResult"] = {{"cniVersion", "1.1.0"}};
    return call;
  }
};

TEST_P(EnvironmentTest, WithoutCommandAnAboutTextGoesToStandardError) {
  CniCall call;
  call.container_id.reset();
  call.ifname.reset();
  call.args.reset();
  call.unset_path = true;
  call.raw_config = "";
  const CniOutcome outcome = run_call(call);
  EXPECT_CNI_OK(outcome);
  EXPECT_TRUE(outcome.silent()) << outcome;
  EXPECT_NE(outcome.process.err.find(plugin()), std::string::npos) << outcome;
  EXPECT_NE(outcome.process.err.find("CNI protocol versions supported: 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"),
            std::string::npos)
      << outcome;
}

TEST_P(EnvironmentTest, UnknownCommandIsNamed) {
  for (const char* command : {"FROB", "add", "ADD ", "ADDD"}) {
    const CniOutcome outcome = run_call(complete(command));
    EXPECT_CNI_ERROR(outcome, Code::kBadEnvironment);
    EXPECT_EQ(outcome.message(), std::string("unknown CNI_COMMAND: ") + command);
  }
}

TEST_P(EnvironmentTest, EachRequiredVariableThatIsMissingIsNamed) {
  struct Case {
    const char* command;
    std::vector<std::string> required;
  };
  const std::vector<Case> cases = {{"ADD", {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"}},
                                   {"CHECK", {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"}},
                                   {"DEL", {"CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"}},
                                   {"GC", {"CNI_PATH"}},
                                   {"STATUS", {"CNI_PATH"}}};
  for (const Case& c : cases) {
    for (const std::string& variable : c.required) {
      for (const bool empty : {false, true}) {  // an empty variable counts as unset
        CniCall call = complete(c.command);
        const std::optional<std::string> value = empty ? std::optional<std::string>("") : std::nullopt;
        if (variable == "CNI_CONTAINERID") call.container_id = value;
        if (variable == "CNI_NETNS") call.netns = value;
        if (variable == "CNI_IFNAME") call.ifname = value;
        if (variable == "CNI_PATH") call.unset_path = !empty;
        if (variable == "CNI_PATH" && empty) call.path = "";
        const CniOutcome outcome = run_call(call);
        EXPECT_CNI_ERROR(outcome, Code::kBadEnvironment);
        EXPECT_EQ(outcome.message(), "required env variables [" + variable + "] missing") << c.command;
      }
    }
  }
}

TEST_P(EnvironmentTest, SeveralMissingVariablesAreNamedAtOnce) {
  CniCall call = complete("ADD");
  call.container_id.reset();
  call.netns.reset();
  call.ifname.reset();
  call.unset_path = true;
  const CniOutcome outcome = run_call(call);
  EXPECT_CNI_ERROR(outcome, Code::kBadEnvironment);
  EXPECT_EQ(outcome.message(),
            "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH] missing");
}

TEST_P(EnvironmentTest, MalformedValueWinsOverMissingVariables) {
  CniCall call = complete("ADD");
  call.container_id = "../c1";
  call.netns.reset();
  call.unset_path = true;
  const CniOutcome outcome = run_call(call);
  EXPECT_CNI_ERROR(outcome, Code::kBadEnvironment);
  EXPECT_NE(outcome.message().find("../c1"), std::string::npos) << outcome;
}

TEST_P(EnvironmentTest, F021_HostileContainerIdsAndInterfaceNamesAreRefused) {
  const std::vector<std::string> hostile = {".",
                                            "..",
                                            "../../tmp/x",
                                            "/etc/passwd",
                                            "a/b",
                                            std::string(300, 'a'),
                                            "a\nb",
                                            "-rf",
                                            "a b",
                                            "\xd0\xb0"
                                            "bc",
                                            "a:b",
                                            "a\tb",
                                            "a%d"};
  for (const std::string& value : hostile) {
    for (const char* command : {"ADD", "DEL", "CHECK"}) {
      CniCall container = complete(command);
      container.container_id = value;
      expect_refused(container, Code::kBadEnvironment, {"CNI_CONTAINERID"});
      CniCall interface = complete(command);
      interface.ifname = value;
      expect_refused(interface, Code::kBadEnvironment, {"CNI_IFNAME"});
    }
  }
}

TEST_P(EnvironmentTest, F059_InterfaceNamesEndAtFifteenBytes) {
  Pod& pod = make_pod("a");
  CniCall call = complete("ADD");
  call.ifname = "abcdefghijklmnop";
  expect_refused(call, Code::kBadEnvironment, {"abcdefghijklmnop", "15"});
  call.ifname = "abcdefghijklmno";
  const Snapshot before = snapshot();
  const CniOutcome added = run_call(call);
  ASSERT_CNI_OK(added);
  EXPECT_FALSE(link_of(pod.path(), "abcdefghijklmno").is_null());
  EXPECT_CNI_OK(del(pod.path(), config(), "c1", "abcdefghijklmno"));
  EXPECT_SNAP_CLEAN(before, snapshot());
}

TEST_P(EnvironmentTest, CniArgsAreOptionalAndUnknownKeysAreIgnored) {
  Pod& pod = make_pod("a");
  for (const std::optional<std::string>& args : {std::optional<std::string>(), std::optional<std::string>(""),
                                                 std::optional<std::string>("NOBODY_KNOWS=1;K8S_POD_NAME=x"),
                                                 std::optional<std::string>("A=1;;B=2;")}) {
    CniCall call = complete("ADD");
    call.args = args;
    const CniOutcome outcome = run_call(call);
    EXPECT_CNI_OK(outcome);
    EXPECT_CNI_OK(del(pod.path(), config()));
  }
}

TEST_P(EnvironmentTest, BrokenCniArgsAreNamedAndDoNotStopDel) {
  for (const char* pair : {"NOEQUALS", "A=B=C"}) {
    CniCall call = complete("ADD");
    call.args = std::string("IgnoreUnknown=1;") + pair;
    expect_refused(call, Code::kBadEnvironment, {"CNI_ARGS", pair});
    call.command = "DEL";
    EXPECT_CNI_OK(run_call(call));
  }
}

TEST_P(EnvironmentTest, GcAndStatusIgnoreTheContainer) {
  for (const char* command : {"GC", "STATUS"}) {
    CniCall call = complete(command);
    call.container_id = "../../garbage";
    call.ifname = "far too long for a link name";
    call.netns = "/nowhere";
    const CniOutcome outcome = run_call(call);
    EXPECT_CNI_OK(outcome);
    EXPECT_TRUE(outcome.silent()) << outcome;
  }
}

TEST_P(EnvironmentTest, VersionNeedsNothingButItsCommand) {
  for (const bool close : {false, true}) {
    CniCall call;
    call.command = "VERSION";
    call.container_id.reset();
    call.ifname.reset();
    call.args.reset();
    call.unset_path = true;
    call.raw_config = "";
    call.env["VMLANE_CONFIG"] = "/nowhere/node.json";
    call.options.close_stdin = close;
    call.options.hold_stdin = !close;
    call.options.timeout = std::chrono::seconds(5);
    const CniOutcome outcome = run_call(call);
    ASSERT_CNI_OK(outcome);
    ASSERT_TRUE(outcome.document) << outcome;
    EXPECT_EQ((*outcome.document)["cniVersion"], "1.1.0");
    const auto versions = (*outcome.document)["supportedVersions"].get<std::vector<std::string>>();
    for (const char* version : {"0.3.1", "0.4.0", "1.0.0", "1.1.0"}) {
      EXPECT_NE(std::ranges::find(versions, version), versions.end()) << version;
    }
  }
}

TEST_P(EnvironmentTest, VersionWithTheDummyValuesOfTheClientLibrary) {
  CniCall call;
  call.command = "VERSION";
  call.container_id = call.netns = call.ifname = call.path = "dummy";
  call.config = {{"cniVersion", "0.4.0"}};
  const CniOutcome outcome = run_call(call);
  ASSERT_CNI_OK(outcome);
  EXPECT_TRUE(outcome.document) << outcome;
}

TEST_P(EnvironmentTest, BrokenNodeConfigIsNamed) {
  spit(node_json(), "{\"stateDir\": 7}");
  const CniOutcome outcome = run_call(complete("ADD"));
  EXPECT_CNI_ERROR(outcome, Code::kInvalidConfig);
  EXPECT_NE(outcome.message().find("stateDir"), std::string::npos) << outcome;
  EXPECT_NE(outcome.message().find(node_json().string()), std::string::npos) << outcome;
}

VMLANE_FOR_EACH_LANE(EnvironmentTest);

}  // namespace
}  // namespace vmlane::test
