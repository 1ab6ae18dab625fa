// SPDX-License-Identifier: Apache-2.0
#include "agent/switch_policy.h"

#include <utility>

namespace vmlane::agent {
namespace {

std::vector<Json> list_in(Json& value) {
  std::vector<Json> rows;
  if (!value.is_array()) return rows;
  for (Json& row : value) {
    if (row.is_object()) rows.push_back(std::move(row));
  }
  return rows;
}

Json port_of(const std::optional<std::string>& attachment) {
  return attachment ? Json{{"port", *attachment}} : Json::object();
}

}  // namespace

std::optional<Json> SwitchPolicy::call(const std::string& method, const Json& params) {
  constexpr std::chrono::seconds kPatience{1};
  constexpr std::chrono::seconds kPause{10};
  const auto now = std::chrono::steady_clock::now();
  if (now < retry_) return std::nullopt;
  // A connection of before the switch was replaced fails once.
  for (int attempt = 0; attempt < 2; attempt++) {
    const bool fresh = !client_;
    if (fresh) {
      auto connected = json_rpc::Client::connect(socket_, kPatience);
      if (!connected) return std::nullopt;
      client_.emplace(std::move(*connected));
    }
    auto answer = client_->call(method, params);
    if (answer) return std::move(*answer);
    client_.reset();
    if (answer.error().code == Code::kTryAgain) retry_ = now + kPause;
    if (fresh || answer.error().code == Code::kTryAgain) break;
  }
  return std::nullopt;
}

std::vector<Json> SwitchPolicy::drops() {
  auto told = call("policy.drops", {{"after", seen_}});
  if (!told || !told->is_object()) return {};
  if (const std::string instance = told->value("instance", ""); instance != instance_) {
    const bool was_asked_for_all = seen_ == 0;
    instance_ = instance;
    seen_ = 0;
    if (!was_asked_for_all) told = call("policy.drops", {{"after", seen_}});
    if (!told || !told->is_object()) return {};
  }
  seen_ = told->value("last", std::uint64_t{0});
  return list_in((*told)["drops"]);
}

std::vector<Json> SwitchPolicy::counters() {
  auto told = call("policy.counters");
  return told ? list_in(*told) : std::vector<Json>();
}

// The switch knows no port of attachments on other lanes, and says so by an error.
std::vector<Json> SwitchPolicy::connections(const std::optional<std::string>& attachment) {
  auto told = call("flows", port_of(attachment));
  return told ? list_in(*told) : std::vector<Json>();
}

std::size_t SwitchPolicy::flush(const std::optional<std::string>& attachment) {
  const auto told = call("flows.flush", port_of(attachment));
  return told && told->is_object() ? told->value("flushed", std::size_t{0}) : 0;
}

}  // namespace vmlane::agent
