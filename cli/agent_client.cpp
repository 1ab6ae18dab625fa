// SPDX-License-Identifier: Apache-2.0
#include "cli/agent_client.h"

namespace vmlane::cli {

Result<json_rpc::Client> connect_agent(const NodeSource& node, const Context& context) {
  VMLANE_ASSIGN(const NodeConfig config, node.read(context));
  auto client = json_rpc::Client::connect(config.agent_socket());
  if (!client && client.error().code == Code::kNotAvailable) {
    client.error().message = "no vmlane-agent runs on this node";
    client.error().details = "nobody answers on " + config.agent_socket().string();
  }
  return client;
}

}  // namespace vmlane::cli
