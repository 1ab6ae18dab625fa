// SPDX-License-Identifier: Apache-2.0
#include "multus-adapter/meta_plugin.h"

#include <algorithm>
#include <array>
#include <set>

#include "cni/directories.h"
#include "cni/operation_log.h"
#include "cni/protocol.h"
#include "core/log.h"
#include "core/node_config.h"
#include "manifests/fields.h"
#include "multus-adapter/agent_objects.h"

namespace vmlane::multus {
namespace {

constexpr std::string_view kName = "vmlane-multus";

Result<> read_directory(ObjectReader& reader, std::string_view key, std::filesystem::path& into) {
  VMLANE_ASSIGN(const auto text, reader.string(key));
  if (!text || text->empty()) return {};
  // A colon would make two directories of it in CNI_PATH.
  if (!text->starts_with('/') || text->find(':') != std::string::npos)
    return reader.wrong(key, "an absolute path without ':'");
  into = *text;
  return {};
}

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const auto comma = text.find(',');
    std::string_view part = text.substr(0, comma);
    while (part.starts_with(' ')) part.remove_prefix(1);
    while (part.ends_with(' ')) part.remove_suffix(1);
    if (!part.empty()) parts.emplace_back(part);
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
  }
  return parts;
}

Result<> read_names(ObjectReader& reader, std::string_view key, std::vector<std::string>& into) {
  const Json* value = reader.find(key);
  if (value == nullptr) return {};
  if (value->is_string()) {
    into = split(value->get<std::string>());
    return {};
  }
  VMLANE_ASSIGN(auto list, reader.strings(key));
  into = std::move(*list);
  return {};
}

// An attachment's id is its plugin's; here a line is about a sandbox.
Log::Fields sandbox_context(const cni::Request& request) {
  Log::Fields context = cni::log_context(request);
  std::erase_if(context, [](const auto& field) { return field.first == "id"; });
  return context;
}

// One call of the meta plugin: what each operation opens first.
struct Call {
  NodeConfig config;
  Log log;
  MultusSettings settings;

  static Result<Call> open(const cni::Request& request) {
    Call call;
    VMLANE_ASSIGN(call.config, load_node_config(request.invocation));
    VMLANE_ASSIGN(call.settings, parse_settings(request.config));
    call.log = Log(call.config, std::string(kName), sandbox_context(request));
    return call;
  }
};

Sandbox sandbox_of(const cni::Request& request) {
  Sandbox sandbox{.container_id = request.key.container_id,
                  .netns = request.netns,
                  .ifname = request.key.ifname,
                  .extra_args = extra_args(request.args),
                  .env = request.invocation.env};
  if (const auto it = request.config.find("runtimeConfig"); it != request.config.end() && it->is_object()) {
    sandbox.runtime_config = *it;
  }
  return sandbox;
}

// What cannot be read now may be there in a moment: whoever writes the files may be at it.
Result<ObjectStore> load_objects(const NodeConfig& config, Code when_unreadable) {
  auto objects = ObjectStore::load(config.object_paths);
  if (!objects && objects.error().code == Code::kIo)
    return fail(when_unreadable, objects.error().message, objects.error().details);
  return objects;
}

// The objects of the node's files, or without any those that the agent has for the pod. A call that names no
// pod is refused for that first.
Result<ObjectStore> objects_for_add(const NodeConfig& config, const cni::CniArgs& args) {
  if (!config.object_paths.empty()) return load_objects(config, Code::kTryAgain);
  if (!args.contains("K8S_POD_NAME")) return ObjectStore();
  return resolve_pod(config, args);
}

// The same for STATUS, which is about no pod. No agent means no networks: none may be needed.
Result<ObjectStore> objects_for_status(const NodeConfig& config) {
  if (!config.object_paths.empty()) return load_objects(config, Code::kNotAvailable);
  auto objects = agent_networks(config);
  return objects ? std::move(objects) : ObjectStore();
}

class MetaPlugin {
 public:
  MetaPlugin(PluginExec& exec, PodRunner::OpenNetlink open_netlink)
      : exec_(exec), open_netlink_(std::move(open_netlink)) {}

  Result<cni::CniResult> add(const cni::Request& request) {
    VMLANE_ASSIGN(const Call call, Call::open(request));
    VMLANE_ASSIGN(const ObjectStore objects, objects_for_add(call.config, request.args));
    VMLANE_ASSIGN(const Pod* pod, find_pod(objects, request.args));
    PodRunner runner(call.config, call.log, call.settings, exec_, open_netlink_);
    VMLANE_ASSIGN(const PodAttachments attachments, runner.add(objects, *pod, sandbox_of(request)));
    if (attachments.default_result.is_null()) return cni::CniResult();
    return cni::CniResult::from_json(attachments.default_result, request.version,
                                     "result of the default network");
  }

  Result<> del(const cni::Request& request) {
    return with_runner(request, [&](PodRunner& runner) { return runner.del(sandbox_of(request)); });
  }

  Result<> check(const cni::Request& request) {
    return with_runner(request, [&](PodRunner& runner) { return runner.check(sandbox_of(request)); });
  }

  Result<> gc(const cni::Request& request) {
    VMLANE_ASSIGN(const auto valid, cni::parse_valid_attachments(request));
    if (!valid) return {};  // says nothing about any attachment
    std::set<std::string> alive;
    for (const AttachmentKey& key : *valid) alive.insert(key.container_id);
    return with_runner(request, [&](PodRunner& runner) { return runner.gc(alive, request.invocation.env); });
  }

  Result<> status(const cni::Request& request) {
    VMLANE_ASSIGN(const Call call, Call::open(request));
    VMLANE_TRY(cni::check_directories(call.config, call.config.state_dir / "multus"));
    auto objects = objects_for_status(call.config);
    if (!objects) return fail(Code::kNotAvailable, objects.error().message, objects.error().details);
    PodRunner runner(call.config, call.log, call.settings, exec_, open_netlink_);
    return runner.status(*objects, request.invocation.env);
  }

 private:
  template <class Work>
  Result<> with_runner(const cni::Request& request, const Work& work) {
    VMLANE_ASSIGN(const Call call, Call::open(request));
    PodRunner runner(call.config, call.log, call.settings, exec_, open_netlink_);
    return work(runner);
  }

  PluginExec& exec_;
  PodRunner::OpenNetlink open_netlink_;
};

}  // namespace

Result<MultusSettings> parse_settings(const Json& config) {
  ObjectReader reader(config, "", Code::kInvalidConfig);
  MultusSettings settings;
  VMLANE_ASSIGN(settings.cluster_network, read_string(reader, "clusterNetwork"));
  VMLANE_TRY(read_names(reader, "defaultNetworks", settings.default_networks));
  VMLANE_TRY(read_directory(reader, "binDir", settings.bin_dir));
  VMLANE_TRY(read_directory(reader, "confDir", settings.conf_dir));
  VMLANE_ASSIGN(const auto isolation, reader.boolean("namespaceIsolation"));
  settings.namespace_isolation = isolation.value_or(false);
  VMLANE_TRY(read_names(reader, "globalNamespaces", settings.global_namespaces));
  VMLANE_ASSIGN(settings.multus_namespace, read_string(reader, "multusNamespace", settings.multus_namespace));
  VMLANE_TRY(read_names(reader, "systemNamespaces", settings.system_namespaces));
  return settings;
}

Result<const Pod*> find_pod(const ObjectStore& objects, const cni::CniArgs& args) {
  const auto value = [&](std::string_view key) {
    const auto it = args.find(key);
    return it == args.end() ? std::string() : it->second;
  };
  const std::string ns = value("K8S_POD_NAMESPACE");
  const std::string name = value("K8S_POD_NAME");
  const std::string uid = value("K8S_POD_UID");
  if (ns.empty() || name.empty()) {
    return fail(Code::kBadEnvironment, "CNI_ARGS does not name a pod",
                "K8S_POD_NAMESPACE and K8S_POD_NAME are needed");
  }
  const std::string searched =
      objects.searched().empty() ? "the node config has no objectPaths" : "searched in " + objects.searched();
  const Pod* pod = objects.find_pod(ns, name);
  if (pod == nullptr) return fail(Code::kTryAgain, "pod " + ns + "/" + name + " was not found", searched);
  const bool given = pod->uid != derived_uid("Pod", ns, name);
  if (given && !uid.empty() && uid != pod->uid) {
    return fail(Code::kTryAgain,
                "pod " + ns + "/" + name + " has uid " + pod->uid + ", the runtime asks for " + uid,
                pod->source + " may be out of date; " + searched);
  }
  return pod;
}

std::string extra_args(const cni::CniArgs& args) {
  constexpr std::array<std::string_view, 5> kStandard = {"IgnoreUnknown", "K8S_POD_NAMESPACE", "K8S_POD_NAME",
                                                         "K8S_POD_INFRA_CONTAINER_ID", "K8S_POD_UID"};
  std::string text;
  for (const auto& [key, value] : args) {
    if (std::ranges::find(kStandard, key) == kStandard.end())
      text += (text.empty() ? "" : ";") + key + "=" + value;
  }
  return text;
}

int run_meta_plugin(const Invocation& invocation, PluginExec& exec,
                    const PodRunner::OpenNetlink& open_netlink) {
  MetaPlugin meta(exec, open_netlink);
  return cni::run(invocation,
                  {.name = std::string(kName),
                   .about = "attaches a pod to the networks that its annotations ask for",
                   .add = [&](const cni::Request& request) { return meta.add(request); },
                   .del = [&](const cni::Request& request) { return meta.del(request); },
                   .check = [&](const cni::Request& request) { return meta.check(request); },
                   .gc = [&](const cni::Request& request) { return meta.gc(request); },
                   .status = [&](const cni::Request& request) { return meta.status(request); },
                   .report =
                       [](const cni::Request& request, const Error* error, std::chrono::microseconds took) {
                         cni::log_operation(request, std::string(kName), sandbox_context(request), error,
                                            took);
                       }});
}

}  // namespace vmlane::multus
