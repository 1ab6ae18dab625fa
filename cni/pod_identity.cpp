// SPDX-License-Identifier: Apache-2.0
#include "cni/pod_identity.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "core/files.h"
#include "core/names.h"

namespace vmlane::cni {
namespace {

namespace fs = std::filesystem;

std::string argument(const Request& request, std::string_view key) {
  const auto it = request.args.find(key);
  return it == request.args.end() ? std::string() : it->second;
}

Result<PodIdentity> parse_facts(const Json& json) {
  constexpr int kSchema = 1;
  if (!json.is_object()) return fail(Code::kDecode, "facts are a JSON object");
  ObjectReader reader(json, "", Code::kDecode);
  VMLANE_ASSIGN(const auto schema, reader.integer("schema", 0, INT32_MAX));
  if (schema != kSchema) return reader.wrong("schema", std::to_string(kSchema));
  PodIdentity pod;
  VMLANE_ASSIGN(pod.ns, reader.text("namespace"));
  VMLANE_ASSIGN(pod.name, reader.text("name"));
  VMLANE_ASSIGN(pod.uid, reader.text("uid"));
  VMLANE_ASSIGN(const Json* vm, reader.object("vm"));
  if (vm != nullptr) {
    ObjectReader keys(*vm, "vm.", Code::kDecode);
    VMLANE_ASSIGN(pod.vm, keys.text("name"));
  }
  VMLANE_ASSIGN(const Json* migration, reader.object("migration"));
  if (migration != nullptr) {
    ObjectReader keys(*migration, "migration.", Code::kDecode);
    VMLANE_ASSIGN(const std::string role, keys.text("role"));
    if (role == "target") {
      VMLANE_ASSIGN(pod.migration, keys.text("uid"));
    }
  }
  return pod;
}

Result<std::optional<PodIdentity>> read_facts(const fs::path& file) {
  VMLANE_ASSIGN(const auto text, read_file(file));
  if (!text) return std::nullopt;
  VMLANE_ASSIGN(const Json json, parse_json(*text, file.string()));
  VMLANE_ASSIGN(PodIdentity pod, parse_facts(json));
  return std::optional(std::move(pod));
}

// Whether somebody accepts connections there; a socket file alone may be a dead agent's.
bool accepts_connections(const fs::path& socket_path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = socket_path.string();
  if (path.size() > names::kMaxSocketPath) return false;
  std::ranges::copy(path, address.sun_path);
  const Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return fd && ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
}

Result<std::optional<PodIdentity>> await_facts(const fs::path& file, const NodeConfig& config) {
  constexpr auto kPoll = std::chrono::milliseconds(10);
  VMLANE_ASSIGN(auto facts, read_facts(file));
  if (facts || !accepts_connections(config.agent_socket())) return facts;
  const auto deadline = std::chrono::steady_clock::now() + config.pod_facts_timeout;
  while (!facts && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(kPoll);
    VMLANE_ASSIGN(facts, read_facts(file));
  }
  return facts;
}

}  // namespace

std::string_view vm_of_launcher(std::string_view pod_name) {
  constexpr std::string_view kPrefix = "virt-launcher-";
  constexpr std::size_t kSuffix = 6;       // '-' and five random characters
  constexpr std::size_t kMaxPodName = 63;  // the API server cuts the rest to make a generated name fit
  if (!pod_name.starts_with(kPrefix) || pod_name.size() >= kMaxPodName) return {};
  pod_name.remove_prefix(kPrefix.size());
  if (pod_name.size() <= kSuffix || pod_name[pod_name.size() - kSuffix] != '-') return {};
  const bool random = std::ranges::all_of(pod_name.substr(pod_name.size() - kSuffix + 1), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
  });
  return random ? pod_name.substr(0, pod_name.size() - kSuffix) : std::string_view();
}

Result<PodIdentity> identify_pod(const Request& request, const NodeConfig& config, const Log& log) {
  PodIdentity pod{.ns = argument(request, "K8S_POD_NAMESPACE"),
                  .name = argument(request, "K8S_POD_NAME"),
                  .uid = argument(request, "K8S_POD_UID"),
                  .vm = {},
                  .migration = {}};
  if (!pod.uid.empty()) {
    VMLANE_TRY(names::check_identifier(pod.uid, "K8S_POD_UID in CNI_ARGS", Code::kBadEnvironment));
    const auto facts = await_facts(config.pods_dir() / (pod.uid + ".json"), config);
    if (facts && *facts) return **facts;
    if (!facts) log.warning("facts about the pod cannot be used", {{"error", facts.error().text()}});
  }
  pod.vm = vm_of_launcher(pod.name);
  return pod;
}

}  // namespace vmlane::cni
