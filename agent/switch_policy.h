// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/json_rpc.h"

namespace vmlane::agent {

// What vmlane-switch tells of policy on its ports (docs/switch.md); nothing while no switch runs. A switch
// that does not answer is not asked again for a while.
class SwitchPolicy {
 public:
  explicit SwitchPolicy(std::filesystem::path socket) : socket_(std::move(socket)) {}

  // Drops since the last call.
  std::vector<Json> drops();
  // Since the switch began.
  std::vector<Json> counters();
  // Living connections of one attachment or of all, as they were opened.
  std::vector<Json> connections(const std::optional<std::string>& attachment);
  // Forgets them; how many there were.
  std::size_t flush(const std::optional<std::string>& attachment);

 private:
  std::optional<Json> call(const std::string& method, const Json& params = Json::object());

  const std::filesystem::path socket_;
  std::optional<json_rpc::Client> client_;
  std::chrono::steady_clock::time_point retry_;
  std::string instance_;
  std::uint64_t seen_ = 0;  // number of the last drop of that instance
};

}  // namespace vmlane::agent
