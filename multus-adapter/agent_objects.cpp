// SPDX-License-Identifier: Apache-2.0
#include "multus-adapter/agent_objects.h"

#include "core/json_rpc.h"

namespace vmlane::multus {
namespace {

Result<ObjectStore> ask(const NodeConfig& config, const std::string& method, const Json& params) {
  const std::string where = "the agent at " + config.agent_socket().string();
  auto agent = json_rpc::Client::connect(config.agent_socket());
  if (!agent)
    return fail(
        Code::kTryAgain, "nobody knows the pod's networks",
        "the node config has no objectPaths, and " + where + " does not answer: " + agent.error().text());
  VMLANE_ASSIGN(const Json answer, agent->call(method, params));
  ObjectStore store(where);
  const Json objects = answer.is_object() ? answer.value("objects", Json()) : Json();
  if (!objects.is_array()) return fail(Code::kDecode, where + " gave no objects");
  for (const Json& entry : objects) {
    if (!entry.is_object()) return fail(Code::kDecode, where + " gave something else than objects");
    const Json place = entry.value("place", Json());
    VMLANE_TRY(store.add_object(entry.value("object", Json()),
                                place.is_string() ? place.get<std::string>() : where));
  }
  return store;
}

}  // namespace

Result<ObjectStore> resolve_pod(const NodeConfig& config, const cni::CniArgs& args) {
  const auto value = [&args](std::string_view key) {
    const auto found = args.find(key);
    return found == args.end() ? std::string() : found->second;
  };
  return ask(config, "pod.resolve",
             {{"namespace", value("K8S_POD_NAMESPACE")},
              {"name", value("K8S_POD_NAME")},
              {"uid", value("K8S_POD_UID")}});
}

Result<ObjectStore> agent_networks(const NodeConfig& config) {
  return ask(config, "networks", Json::object());
}

}  // namespace vmlane::multus
