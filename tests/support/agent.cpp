// SPDX-License-Identifier: Apache-2.0
#include "tests/support/agent.h"

#include <algorithm>
#include <csignal>
#include <filesystem>

#include "core/json_rpc.h"
#include "policy/tables_file.h"
#include "tests/support/paths.h"

namespace vmlane::test {

AgentRunner::AgentRunner(const NodeConfig& node, std::vector<std::filesystem::path> objects,
                         std::vector<std::string> more)
    : node_(node), command_{built("vmlane-agent"), "--config", node.source.string(), "--node", "n1"} {
  for (const auto& directory : objects) {
    command_.emplace_back("--objects");
    command_.push_back(directory.string());
  }
  command_.insert(command_.end(), more.begin(), more.end());
}

void AgentRunner::start() {
  process_.reset();
  RunOptions options;
  options.stdout_path = (node_.state_dir.parent_path() / "agent.out").string();
  process_.emplace(command_, options);
  const bool answers = eventually([&] { return !process_->running() || call("status").has_value(); },
                                  std::chrono::seconds(60));
  ASSERT_TRUE(answers && process_->running()) << "the agent did not start: " << slurp(options.stdout_path);
}

std::optional<int> AgentRunner::stop() {
  ::kill(process_->pid(), SIGTERM);
  return process_->wait(std::chrono::seconds(20));
}

void AgentRunner::kill() {
  ::kill(process_->pid(), SIGKILL);
  process_->wait(std::chrono::seconds(20));
}

Result<Json> AgentRunner::call(const std::string& method, const Json& params) const {
  VMLANE_ASSIGN(auto client, json_rpc::Client::connect(node_.agent_socket(), std::chrono::seconds(60)));
  return client.call(method, params);
}

Json AgentRunner::status() const {
  auto status = call("status");
  return status ? std::move(*status) : Json::object();
}

Json AgentRunner::attachment(const std::string& id) const {
  const Json rows = status().value("attachments", Json::array());
  const auto row =
      std::ranges::find_if(rows, [&](const Json& candidate) { return candidate.value("id", "") == id; });
  return row == rows.end() ? Json::object() : *row;
}

std::string AgentRunner::problems() const {
  return to_text(status().value("problems", Json::array()));
}

std::string pod_text(const std::string& name, const Json& labels, const Json& more) {
  Json pod = {{"apiVersion", "v1"},
              {"kind", "Pod"},
              {"metadata", {{"namespace", "blue"}, {"name", name}, {"labels", labels}}},
              {"status", {{"phase", "Running"}}}};
  pod.merge_patch(more);
  return pod.dump();
}

std::string policy_text(const std::string& name, const Json& spec) {
  return Json{{"apiVersion", "networking.k8s.io/v1"},
              {"kind", "NetworkPolicy"},
              {"metadata", {{"namespace", "blue"}, {"name", name}}},
              {"spec", spec}}
      .dump();
}

std::optional<bool> published_verdict(const NodeConfig& node, const std::string& attachment_id, bool ingress,
                                      const std::string& peer, std::uint16_t port) {
  const auto file = policy::TablesFile::map(node.policy_dir() / policy::tables_file_name());
  if (!file || !*file) return std::nullopt;
  const auto* attached = (*file)->find(attachment_id);
  const auto address = IpAddress::parse(peer);
  if (attached == nullptr || !address) return std::nullopt;
  std::array<std::uint32_t, 4> words{};
  for (std::size_t i = 0; i < address->bytes.size(); i++)
    words[i / 4] |= std::uint32_t{address->bytes[i]} << (24 - 8 * (i % 4));
  const vmlane_policy_tables tables = (*file)->tables();
  const auto found = vmlane_policy_find_peer(&tables, attached->network, address->v6 ? 1 : 0, words.data());
  const vmlane_policy_question question{
      .endpoint = attached->endpoint,
      .group = found.group,
      .own_node = 0,
      .port = port,
      .protocol = VMLANE_POLICY_TCP,
      .direction = static_cast<std::uint8_t>(ingress ? VMLANE_POLICY_INGRESS : VMLANE_POLICY_EGRESS)};
  return vmlane_policy_judge(&tables, &question).allowed != 0;
}

}  // namespace vmlane::test
