// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <map>
#include <sstream>

#include "cni/protocol.h"

// The plugin's side of the protocol, called in process with a plugin that remembers its calls. The same cases
// run against the real programs in tests/conformance; here are the order of validation and the texts.
namespace vmlane::cni {
namespace {

class ProtocolTest : public testing::Test {
 protected:
  ProtocolTest() {
    plugin.name = "vmlane-example";
    plugin.about = "an example";
    plugin.add = [this](const Request& request) -> Result<CniResult> {
      calls.push_back("ADD");
      seen = request;
      if (add_error) return fail(*add_error);
      return CniResult{.interfaces = {{.name = "net1", .mtu = 1500, .sandbox = request.netns}}};
    };
    const auto remember = [this](const char* name) {
      return [this, name](const Request& request) -> Result<> {
        calls.push_back(name);
        seen = request;
        return {};
      };
    };
    plugin.del = remember("DEL");
    plugin.check = remember("CHECK");
    plugin.gc = remember("GC");
    plugin.status = remember("STATUS");
    env = {{"CNI_CONTAINERID", "c1"},
           {"CNI_NETNS", "/run/netns/a"},
           {"CNI_IFNAME", "net1"},
           {"CNI_PATH", "/opt/cni/bin"}};
  }

  int call(const std::string& command,
           const std::string& config = R"({"cniVersion":"1.1.0","name":"blue","type":"vmlane-example"})") {
    Invocation invocation;
    invocation.env = env;
    if (!command.empty()) invocation.env["CNI_COMMAND"] = command;
    invocation.read_stdin = [this, config]() -> Result<std::string> {
      stdin_read = true;
      if (stdin_error) return fail(*stdin_error);
      return config;
    };
    std::ostringstream out_stream;
    std::ostringstream err_stream;
    invocation.out = &out_stream;
    invocation.err = &err_stream;
    const int status = run(invocation, plugin);
    out = out_stream.str();
    err = err_stream.str();
    return status;
  }

  // Expects one error object with this code and `text` in its message or details.
  void expect_error(int status, Code code, const std::string& text) {
    EXPECT_NE(status, 0);
    ASSERT_TRUE(Json::accept(out)) << out;
    const Json error = Json::parse(out);
    EXPECT_EQ(error["code"], static_cast<unsigned>(code)) << out;
    EXPECT_NE((error["msg"].get<std::string>() + error.value("details", "")).find(text), std::string::npos)
        << out;
    EXPECT_TRUE(error.contains("cniVersion"));
    EXPECT_TRUE(calls.empty());
  }

  Plugin plugin;
  std::map<std::string, std::string, std::less<>> env;
  std::optional<Error> add_error;
  std::optional<Error> stdin_error;
  std::vector<std::string> calls;
  Request seen;
  bool stdin_read = false;
  std::string out;
  std::string err;
};

TEST_F(ProtocolTest, WithoutCommandTellsAboutItself) {
  EXPECT_EQ(call(""), 0);
  EXPECT_EQ(out, "");
  EXPECT_NE(err.find("an example"), std::string::npos);
  EXPECT_NE(err.find("CNI protocol versions supported: 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"),
            std::string::npos);
}

TEST_F(ProtocolTest, VersionNeedsNeitherEnvironmentNorStdin) {
  env.clear();
  EXPECT_EQ(call("VERSION"), 0);
  EXPECT_FALSE(stdin_read);
  EXPECT_EQ(Json::parse(out)["supportedVersions"], Json(kSupportedVersions));
}

TEST_F(ProtocolTest, MissingVariablesAreToldTogether) {
  env = {{"CNI_CONTAINERID", "c1"}};
  expect_error(call("ADD"), Code::kBadEnvironment,
               "required env variables [CNI_NETNS,CNI_IFNAME,CNI_PATH] missing");
  env = {};
  expect_error(call("GC"), Code::kBadEnvironment, "required env variables [CNI_PATH] missing");
  expect_error(call("DEL"), Code::kBadEnvironment, "[CNI_CONTAINERID,CNI_IFNAME,CNI_PATH]");
}

TEST_F(ProtocolTest, AMalformedValueWinsOverMissingOnes) {
  env = {{"CNI_CONTAINERID", "../c1"}};
  expect_error(call("ADD"), Code::kBadEnvironment, "CNI_CONTAINERID");
}

TEST_F(ProtocolTest, RefusesNamesThatNoLinkCanHave) {
  for (const char* name : {"0123456789abcdef", ".", "..", "a/b", "a:b", "a b", "a\tb"}) {
    env["CNI_IFNAME"] = name;
    expect_error(call("ADD"), Code::kBadEnvironment, "CNI_IFNAME");
  }
}

TEST_F(ProtocolTest, UnknownCommandIsNamed) {
  expect_error(call("FROB"), Code::kBadEnvironment, "unknown CNI_COMMAND: FROB");
}

TEST_F(ProtocolTest, ReportsStdinThatCannotBeRead) {
  stdin_error = Error{Code::kIo, "cannot read standard input"};
  expect_error(call("ADD"), Code::kIo, "standard input");
}

TEST_F(ProtocolTest, BrokenJsonHasLineAndColumn) {
  expect_error(call("ADD", "{\n  \"name\": \"blue\",\n}"), Code::kDecode, "line 3, column 1");
  expect_error(call("ADD", ""), Code::kDecode, "empty");
  expect_error(call("ADD", "[]"), Code::kDecode, "not a JSON object");
  expect_error(call("ADD", R"({"name":"a","name":"b"})"), Code::kDecode, "\"name\" is given twice");
}

TEST_F(ProtocolTest, TheNetworkNeedsAName) {
  expect_error(call("ADD", R"({"cniVersion":"1.0.0"})"), Code::kInvalidConfig, "missing network name");
  expect_error(call("ADD", R"({"cniVersion":"1.0.0","name":"../x"})"), Code::kInvalidConfig, "../x");
}

TEST_F(ProtocolTest, OldConfigsDoNotAllowNewOperations) {
  expect_error(call("CHECK", R"({"cniVersion":"0.3.1","name":"a"})"), Code::kIncompatibleVersion,
               "config version does not allow CHECK");
  expect_error(call("GC", R"({"cniVersion":"1.0.0","name":"a"})"), Code::kIncompatibleVersion,
               "config version does not allow GC");
  expect_error(call("STATUS", R"({"cniVersion":"1.0.0","name":"a"})"), Code::kIncompatibleVersion,
               "config version does not allow STATUS");
  expect_error(call("CHECK", R"({"cniVersion":"9.9.9","name":"a"})"), Code::kIncompatibleVersion,
               "plugin version does not allow CHECK");
}

TEST_F(ProtocolTest, UnknownVersionsAreRefusedWithWhatIsKnown) {
  for (const char* config :
       {R"({"name":"a"})", R"({"cniVersion":"","name":"a"})", R"({"cniVersion":"0.2.0","name":"a"})",
        R"({"cniVersion":"9.9.9","name":"a"})"}) {
    expect_error(call("ADD", config), Code::kIncompatibleVersion,
                 "plugin supports [0.3.0 0.3.1 0.4.0 1.0.0 1.1.0]");
  }
}

TEST_F(ProtocolTest, WhatAnOldConfigMadeCanStillBeRemoved) {
  for (const char* config :
       {R"({"name":"a"})", R"({"cniVersion":"0.1.0","name":"a"})", R"({"cniVersion":"0.2.0","name":"a"})"}) {
    calls.clear();
    EXPECT_EQ(call("DEL", config), 0) << out;
    EXPECT_EQ(calls, std::vector<std::string>{"DEL"});
  }
}

TEST_F(ProtocolTest, AnswersInTheVersionOfTheConfig) {
  for (const std::string_view version : kSupportedVersions) {
    EXPECT_EQ(call("ADD", R"({"name":"a","cniVersion":")" + std::string(version) + "\"}"), 0) << out;
    EXPECT_EQ(Json::parse(out)["cniVersion"], version);
    EXPECT_EQ(Json::parse(out)["interfaces"][0].contains("mtu"), version == "1.1.0");
  }
}

TEST_F(ProtocolTest, CheckNeedsTheResultOfAdd) {
  expect_error(call("CHECK"), Code::kInvalidConfig, "missing prevResult");
  EXPECT_EQ(
      call(
          "CHECK",
          R"({"cniVersion":"1.0.0","name":"a","prevResult":{"cniVersion":"0.4.0","ips":[{"version":"4","address":"192.0.2.5/24"}]}})"),
      0)
      << out;
  EXPECT_EQ(seen.prev_result->ips.size(), 1U);
}

TEST_F(ProtocolTest, DelDoesWithoutWhatItCannotRead) {
  env["CNI_ARGS"] = "not a pair";
  EXPECT_EQ(call("DEL", R"({"cniVersion":"1.0.0","name":"a","prevResult":{"ips":[{"address":"x"}]}})"), 0)
      << out;
  EXPECT_EQ(out, "");
  calls.clear();
  expect_error(call("ADD"), Code::kBadEnvironment, "not a pair");
}

TEST_F(ProtocolTest, AFailedAddPrintsTheErrorAlone) {
  add_error = Error{Code::kConflict, "taken", "free it",
                    std::make_shared<const Error>(Error{Code::kKernel, "File exists"})};
  EXPECT_EQ(call("ADD", R"({"cniVersion":"0.4.0","name":"a"})"), 1);
  EXPECT_EQ(
      Json::parse(out),
      Json::parse(R"({"cniVersion":"0.4.0","code":102,"msg":"taken","details":"free it; File exists"})"));
}

TEST_F(ProtocolTest, TextThatIsNoUtf8StillMakesOneJsonObject) {
  add_error = Error{Code::kConflict, std::string("taken by \xff\xfe")};
  call("ADD");
  EXPECT_TRUE(Json::accept(out)) << out;
}

}  // namespace
}  // namespace vmlane::cni
