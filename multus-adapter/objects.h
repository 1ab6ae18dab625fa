// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "multus-adapter/vm_instance.h"

// multus-adapter turns Kubernetes objects into CNI calls: NetworkAttachmentDefinitions and pod annotations
// become plugin configurations (networks.h), a KubeVirt VM becomes its virt-launcher pod (kubevirt.h), and
// PodRunner (pod_runner.h) runs the plugins of a whole pod and writes down what came of it. Objects come from
// files (this header); nothing here talks to an API server.
//
// Invariants: every name and configuration of a pod is resolved and validated before the first plugin runs;
// what DEL needs is on disk before a plugin runs, so DEL never needs the objects; outside text becomes Json
// once and is decoded from there, so that YAML and JSON take the same path.
namespace vmlane::multus {

using StringMap = std::map<std::string, std::string>;

// NetworkAttachmentDefinition of k8s.cni.cncf.io/v1.
struct NetworkAttachmentDefinition {
  std::string ns;
  std::string name;
  std::string config;  // spec.config as given: JSON text, or empty when the configuration stands in a file of
                       // the node
  std::string resource_name;  // annotation k8s.v1.cni.cncf.io/resourceName, empty when there is none
  std::string source;         // "nads.yaml, document 2 (line 14)"

  std::string id() const { return ns + "/" + name; }
};

struct Container {
  std::string name;
  std::string image;
  std::vector<std::string> command;
  std::vector<std::string> args;
};

// Pod of v1, as far as networking and the lab need it.
struct Pod {
  std::string ns;
  std::string name;
  std::string uid;
  StringMap labels;
  StringMap annotations;
  std::vector<Container> containers;
  std::string node_name;  // empty when it is not bound to one
  bool host_network = false;
  std::string source;

  std::string id() const { return ns + "/" + name; }
};

// The objects of some files. Kinds: NetworkAttachmentDefinition, Pod, VirtualMachineInstance, VirtualMachine
// (taken as a running instance; an instance of the same name wins), List and lists of these kinds. Others are
// counted and skipped. A namespace that is not given is "default"; a uid that is not given is derived from
// kind, namespace and name, so that it is stable.
class ObjectStore {
 public:
  // `searched` says where the objects are from.
  explicit ObjectStore(std::string searched = {}) : searched_(std::move(searched)) {}
  // Files are read whatever their name; directories give their *.yaml, *.yml and *.json files in order of
  // name (not those below). Errors name file, document and line, object and key: Code::kIo for what cannot be
  // read, kDecode for broken text, kInvalidConfig for wrong objects, kConflict for an object given twice.
  static Result<ObjectStore> load(const std::vector<std::filesystem::path>& paths);
  // Adds the objects of a text in YAML or JSON; `source` is its name in errors.
  Result<> add_text(std::string_view text, const std::string& source);
  // Adds one object; `source` says where it stands.
  Result<> add_object(const Json& object, const std::string& source);
  // Adds a pod that was made, not read: a VM's launcher. Code::kConflict when there is one of that name.
  Result<> add_pod(Pod pod);

  const std::vector<NetworkAttachmentDefinition>& networks() const { return networks_; }
  const std::vector<Pod>& pods() const { return pods_; }
  const std::vector<VirtualMachineInstance>& vms() const { return vms_; }
  std::size_t ignored() const { return ignored_; }
  // Where the objects came from, for "searched in": "a.yaml, nads/".
  const std::string& searched() const { return searched_; }

  // nullptr when there is none.
  const NetworkAttachmentDefinition* find_network(std::string_view ns, std::string_view name) const;
  const Pod* find_pod(std::string_view ns, std::string_view name) const;
  const VirtualMachineInstance* find_vm(std::string_view ns, std::string_view name) const;

 private:
  Result<> add_vm(VirtualMachineInstance vm, const std::string& kind);

  std::vector<NetworkAttachmentDefinition> networks_;
  std::vector<Pod> pods_;
  std::vector<VirtualMachineInstance> vms_;
  std::size_t ignored_ = 0;
  std::string searched_;
};

}  // namespace vmlane::multus
