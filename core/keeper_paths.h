// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include "core/node_config.h"

// Where vmlane-keeper is found on a node.
namespace vmlane {

// Answers questions, as the switch's socket does.
inline std::filesystem::path keeper_socket(const NodeConfig& config) {
  return config.run_dir / "keeper.sock";
}

// Where it listens for its switch: one socket a port, and nobody else gets in.
inline std::filesystem::path session_dir(const NodeConfig& config) {
  return config.run_dir / "keeper";
}
inline std::filesystem::path session_socket(const NodeConfig& config, const std::string& attachment_id) {
  return session_dir(config) / (attachment_id + ".sock");
}

}  // namespace vmlane
