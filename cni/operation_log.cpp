// SPDX-License-Identifier: Apache-2.0
#include "cni/operation_log.h"

#include <array>
#include <cstdio>

#include "core/node_config.h"

namespace vmlane::cni {
namespace {

std::string milliseconds(std::chrono::microseconds took) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.3f", std::chrono::duration<double, std::milli>(took).count());
  return text.data();
}

}  // namespace

Log::Fields log_context(const Request& request) {
  // As the caller gave it: the operation may be one that we do not know.
  Log::Fields context = {{"op", request.invocation.variable("CNI_COMMAND")},
                         {"network", request.key.network}};
  if (request.command == Command::kGc || request.command == Command::kStatus ||
      request.key.container_id.empty())
    return context;
  context.emplace_back("container", request.key.container_id);
  context.emplace_back("ifname", request.key.ifname);
  // Without a network name there is no attachment yet that it could be the id of.
  if (!request.key.network.empty()) context.emplace_back("id", request.key.id());
  return context;
}

void log_operation(const Request& request, const std::string& program, const Log::Fields& context,
                   const Error* error, std::chrono::microseconds took) {
  const auto config = load_node_config(request.invocation);
  if (!config) return;
  const Log log(*config, program, context);
  const std::string duration = milliseconds(took);
  if (error == nullptr) {
    log.info("done", {{"outcome", "ok"}, {"code", "0"}, {"ms", duration}});
    return;
  }
  log.error("failed", {{"outcome", "error"},
                       {"code", std::to_string(static_cast<unsigned>(error->code))},
                       {"ms", duration},
                       {"error", error->text()}});
}

}  // namespace vmlane::cni
