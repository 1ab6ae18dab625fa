// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "core/node_config.h"

namespace vmlane::multus {

// One attachment of a pod as DEL, CHECK and GC need it, without the objects it came from.
struct AttachmentState {
  std::string nad;      // "ns/name"
  std::string network;  // the configuration's name
  std::string ifname;
  bool is_default = false;
  std::string cni_version;
  std::vector<Json> plugins;  // as configured, to compare networks of one name
  std::vector<Json> inputs;   // what each plugin gets on standard input, without prevResult
  std::string cni_args;
  std::string device_info_file;  // empty when no plugin takes one
  bool disable_check = false;
  bool disable_gc = false;
  bool started = false;  // a plugin was run, or is about to be: DEL has to run
  Json result;           // null until ADD succeeded

  Json to_json() const;
  static Result<AttachmentState> from_json(const Json& json);
};

struct PodState {
  static constexpr int kSchema = 1;

  std::string container_id;
  std::string pod_ns;
  std::string pod_name;
  std::string pod_uid;
  std::string netns;
  std::vector<AttachmentState> attachments;  // in the order of ADD

  Json to_json() const;
  static Result<PodState> from_json(const Json& json);
};

// The states of a node's pods, `<stateDir>/multus/<first 32 hex digits of sha256(container id)>.json`.
class PodStateStore {
 public:
  explicit PodStateStore(const NodeConfig& config)
      : directory_(config.state_dir / "multus"), group_(config.vmlane_gid) {}

  // No value when there is none; an error naming the file when it is cut or foreign.
  Result<std::optional<PodState>> read(const std::string& container_id) const;
  Result<> write(const PodState& state) const;
  Result<> remove(const std::string& container_id) const;
  // All that can be read; files that cannot are left out.
  Result<std::vector<PodState>> list() const;

 private:
  std::filesystem::path path_of(const std::string& container_id) const;
  std::filesystem::path directory_;
  gid_t group_;
};

}  // namespace vmlane::multus
