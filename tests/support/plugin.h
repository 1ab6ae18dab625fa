// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <ostream>
#include <string>

#include "tests/support/host.h"

// Runs the built CNI plugins as a container runtime does: environment and standard input in, exit status and
// standard output back.
namespace vmlane::test {

// What one call gives a plugin. Members that are unset leave their variable unset.
struct CniCall {
  std::optional<std::string> command;
  std::optional<std::string> container_id = "c1";
  std::optional<std::string> netns;
  std::optional<std::string> ifname = "eth0";
  std::optional<std::string> args = "IgnoreUnknown=true;K8S_POD_NAMESPACE=blue;K8S_POD_NAME=c1";
  std::optional<std::string> path;         // unset: the build's bin directory and the standard plugins'
  bool unset_path = false;                 // no CNI_PATH at all
  std::map<std::string, std::string> env;  // more variables, VMLANE_FAULT say
  Json config = Json::object();
  std::optional<std::string> raw_config;  // instead of `config`
  RunOptions options;                     // stdin, environment and namespace are filled in by the runner
};

// What came back.
struct CniOutcome {
  RunResult process;
  std::optional<Json> document;  // standard output, when it was exactly one JSON document and a newline
  std::string stdout_problem;    // why it was not; empty for no output at all

  bool ok() const { return process.ok(); }
  bool silent() const { return process.out.empty(); }
  // Of an error object: code (-1 without one) and msg.
  int code() const;
  std::string message() const;
  std::string details() const;
};

std::ostream& operator<<(std::ostream& out, const CniOutcome& outcome);
// For the macros below.
::testing::AssertionResult succeeded(const char* expression, const CniOutcome& outcome);

// Runs `program` of the build's bin directory, or an absolute path. `node_json` becomes VMLANE_CONFIG unless
// the call's env has one.
CniOutcome run_plugin(const std::string& program, const CniCall& call,
                      const std::filesystem::path& node_json);

// `more` over `config`, key by key; null removes a key.
Json overlaid(Json config, const Json& more);

// What macvtap's NICs are on, unless a test says otherwise; the test makes it.
inline constexpr const char* kLowerDevice = "lower0";

// Fixture with the calls of one attachment spelled out. `plugin()` is the type under test.
class PluginFixture : public HostFixture {
 protected:
  virtual std::string plugin() const = 0;

  // A config of the plugin under test: network "blue", bridge br1 (macvtap: kLowerDevice), host-local IPAM
  // over 192.0.2.0/24 in the test's directory; `more` goes over it, null removes a key.
  Json config(const Json& more = Json::object()) const;
  Json host_local(const std::string& subnet = "192.0.2.0/24") const;

  CniCall call(const std::string& command, const std::string& netns, const Json& conf,
               const std::string& container_id = "c1", const std::string& ifname = "eth0") const;
  CniOutcome run_call(const CniCall& call) const { return run_plugin(plugin(), call, node_json()); }
  CniOutcome add(const Pod& pod, const Json& conf, const std::string& container_id = "c1",
                 const std::string& ifname = "eth0") const;
  CniOutcome del(const std::string& netns, const Json& conf, const std::string& container_id = "c1",
                 const std::string& ifname = "eth0") const;
  CniOutcome check(const Pod& pod, const Json& conf, const Json& prev_result,
                   const std::string& container_id = "c1", const std::string& ifname = "eth0") const;

  // Addresses that host-local holds for the network.
  std::vector<std::string> reserved_addresses(const std::string& network = "blue") const;
};

// Device nodes of macvtaps are the machine's, whoever's namespace the links are in: a test begins at numbers
// of its own, so that no other takes a node that it has just given back.
void spread_macvtap_numbers(const NodeConfig& node);

}  // namespace vmlane::test

// The call succeeded; prints everything that is known when it did not. The call is made once: a second one,
// made to be printed, would show what a repetition gives.
#define ASSERT_CNI_OK(outcome) ASSERT_PRED_FORMAT1(vmlane::test::succeeded, outcome)
#define EXPECT_CNI_OK(outcome) EXPECT_PRED_FORMAT1(vmlane::test::succeeded, outcome)
// The call failed with exactly one error object of this code on standard output.
#define EXPECT_CNI_ERROR(outcome, expected_code)                      \
  do {                                                                \
    const auto& the_outcome = (outcome);                              \
    EXPECT_EQ(the_outcome.process.signal, 0);                         \
    EXPECT_NE(the_outcome.process.status, 0);                         \
    EXPECT_EQ(the_outcome.code(), int(expected_code)) << the_outcome; \
    EXPECT_FALSE(the_outcome.message().empty());                      \
  } while (0)
