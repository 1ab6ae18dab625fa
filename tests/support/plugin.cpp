// SPDX-License-Identifier: Apache-2.0
#include "tests/support/plugin.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "core/names.h"
#include "tests/support/paths.h"

namespace vmlane::test {

namespace fs = std::filesystem;

namespace {

constexpr const char* kStandardPlugins = "/usr/lib/cni";

// Fills document or stdout_problem.
void read_stdout(CniOutcome& outcome) {
  const std::string& text = outcome.process.out;
  if (text.empty()) return;
  if (text.back() != '\n') {
    outcome.stdout_problem = "it does not end with a newline";
    return;
  }
  const std::string body = text.substr(0, text.size() - 1);
  Json json = Json::parse(body, nullptr, false);
  if (json.is_discarded()) {
    outcome.stdout_problem = "it is not exactly one JSON document";
  } else {
    outcome.document = std::move(json);
  }
}

void set(std::map<std::string, std::string>& env, const char* name, const std::optional<std::string>& value) {
  if (value) env[name] = *value;
}

}  // namespace

int CniOutcome::code() const {
  if (!document || !document->is_object() || !document->contains("code")) return -1;
  const Json& value = (*document)["code"];
  return value.is_number_unsigned() ? value.get<int>() : -1;
}

std::string CniOutcome::message() const {
  return document && document->is_object() ? document->value("msg", "") : "";
}

std::string CniOutcome::details() const {
  return document && document->is_object() ? document->value("details", "") : "";
}

std::ostream& operator<<(std::ostream& out, const CniOutcome& outcome) {
  out << "exit status " << outcome.process.status << ", signal " << outcome.process.signal
      << "\nstdout: " << outcome.process.out << "\nstderr: " << outcome.process.err;
  if (!outcome.stdout_problem.empty()) out << "\nbad stdout: " << outcome.stdout_problem;
  return out;
}

::testing::AssertionResult succeeded(const char* expression, const CniOutcome& outcome) {
  if (outcome.ok()) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << expression << " failed: " << outcome;
}

CniOutcome run_plugin(const std::string& program, const CniCall& call, const fs::path& node_json) {
  std::map<std::string, std::string> env = {{"VMLANE_CONFIG", node_json.string()}};
  set(env, "CNI_COMMAND", call.command);
  set(env, "CNI_CONTAINERID", call.container_id);
  set(env, "CNI_NETNS", call.netns);
  set(env, "CNI_IFNAME", call.ifname);
  set(env, "CNI_ARGS", call.args);
  if (!call.unset_path) env["CNI_PATH"] = call.path.value_or(built_programs() + ":" + kStandardPlugins);
  for (const auto& [name, value] : call.env) env[name] = value;
  RunOptions options = call.options;
  options.input = call.raw_config.value_or(call.config.dump());
  options.env = env;
  CniOutcome outcome;
  outcome.process = run({built(program)}, options);
  read_stdout(outcome);
  return outcome;
}

Json PluginFixture::host_local(const std::string& subnet) const {
  return {{"type", "host-local"},
          {"dataDir", ipam_dir().string()},
          {"ranges", Json::array({Json::array({{{"subnet", subnet}}})})}};
}

Json overlaid(Json config, const Json& more) {
  for (const auto& [key, value] : more.items()) {
    if (value.is_null()) {
      config.erase(key);
    } else {
      config[key] = value;
    }
  }
  return config;
}

Json PluginFixture::config(const Json& more) const {
  Json base = {{"cniVersion", "1.1.0"}, {"name", "blue"}, {"type", plugin()}, {"ipam", host_local()}};
  if (plugin() == "vmlane-macvtap") {
    base["lowerDevice"] = kLowerDevice;
  } else {
    base["bridge"] = "br1";
  }
  return overlaid(std::move(base), more);
}

CniCall PluginFixture::call(const std::string& command, const std::string& netns, const Json& conf,
                            const std::string& container_id, const std::string& ifname) const {
  CniCall call;
  call.command = command;
  call.netns = netns;
  call.config = conf;
  call.container_id = container_id;
  call.ifname = ifname;
  call.args = "IgnoreUnknown=true;K8S_POD_NAMESPACE=blue;K8S_POD_NAME=" + container_id;
  return call;
}

CniOutcome PluginFixture::add(const Pod& pod, const Json& conf, const std::string& container_id,
                              const std::string& ifname) const {
  return run_call(call("ADD", pod.path(), conf, container_id, ifname));
}

CniOutcome PluginFixture::del(const std::string& netns, const Json& conf, const std::string& container_id,
                              const std::string& ifname) const {
  return run_call(call("DEL", netns, conf, container_id, ifname));
}

CniOutcome PluginFixture::check(const Pod& pod, const Json& conf, const Json& prev_result,
                                const std::string& container_id, const std::string& ifname) const {
  Json with_result = conf;
  with_result["prevResult"] = prev_result;
  return run_call(call("CHECK", pod.path(), with_result, container_id, ifname));
}

std::vector<std::string> PluginFixture::reserved_addresses(const std::string& network) const {
  std::vector<std::string> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(ipam_dir() / network, error)) {
    const std::string name = entry.path().filename().string();
    if (name != "lock" && !name.starts_with("last_reserved_ip")) found.push_back(name);
  }
  std::ranges::sort(found);
  return found;
}

void spread_macvtap_numbers(const NodeConfig& node) {
  constexpr int kTests = 1 << 20;
  constexpr int kNumbers = 128;  // more than a test uses
  std::filesystem::create_directories(node.run_dir);
  const int first = names::MacvtapSlot::kFirstIndex + ::getpid() % kTests * kNumbers;
  spit(node.ifindex_file(), std::to_string(first));
}

}  // namespace vmlane::test
