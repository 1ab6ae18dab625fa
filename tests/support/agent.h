// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "tests/support/host.h"
#include "tests/support/process.h"

// Runs the built vmlane-agent on a test's node.
namespace vmlane::test {

class AgentRunner {
 public:
  // `objects` are directories; `more` goes to the end of the command line.
  AgentRunner(const NodeConfig& node, std::vector<std::filesystem::path> objects,
              std::vector<std::string> more = {});

  // Starts the program and waits until it answers.
  void start();
  bool running() const { return process_ && process_->running(); }
  pid_t pid() const { return process_->pid(); }
  // SIGTERM; the exit status.
  std::optional<int> stop();
  // SIGKILL, as a node's memory killer does it.
  void kill();

  Result<Json> call(const std::string& method, const Json& params = Json::object()) const;
  // status(); an empty object while nobody answers.
  Json status() const;
  // The row of an attachment in status(); an empty object when there is none.
  Json attachment(const std::string& id) const;
  // Everything that status() reports as wrong, as text.
  std::string problems() const;

 private:
  const NodeConfig& node_;
  std::vector<std::string> command_;
  std::optional<BackgroundProcess> process_;
};

// A Kubernetes object of these tests as JSON text.
std::string pod_text(const std::string& name, const Json& labels, const Json& more = Json::object());
std::string policy_text(const std::string& name, const Json& spec);

// What the published tables say about one packet of a new TCP connection at an attachment. No value when
// there are no tables or they do not know the attachment.
std::optional<bool> published_verdict(const NodeConfig& node, const std::string& attachment_id, bool ingress,
                                      const std::string& peer, std::uint16_t port);

}  // namespace vmlane::test
