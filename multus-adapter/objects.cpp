// SPDX-License-Identifier: Apache-2.0
#include "multus-adapter/objects.h"

#include <algorithm>

#include "manifests/documents.h"
#include "manifests/fields.h"
#include "multus-adapter/vm_decode.h"

namespace vmlane::multus {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kResourceNameAnnotation = "k8s.v1.cni.cncf.io/resourceName";

// Errors of one object start with where it stands and which one it is.
std::unexpected<Error> in_object(const Error& error, const std::string& source, const std::string& kind,
                                 const std::string& id) {
  return fail(error.code, source + ": " + kind + (id.empty() ? "" : " " + id) + ": " + error.message,
              error.details);
}

// "ns/name" as far as it can be told, for errors.
std::string id_of(const Json& object) {
  const auto metadata = object.find("metadata");
  if (metadata == object.end() || !metadata->is_object()) return {};
  const auto text = [&](const char* key, const char* fallback) {
    const auto value = metadata->find(key);
    return value != metadata->end() && value->is_string() ? value->get<std::string>() : std::string(fallback);
  };
  return text("namespace", "default") + "/" + text("name", "?");
}

template <class Object>
const Object* find_object(const std::vector<Object>& objects, std::string_view ns, std::string_view name) {
  const auto found = std::ranges::find_if(
      objects, [&](const Object& object) { return object.ns == ns && object.name == name; });
  return found == objects.end() ? nullptr : &*found;
}

template <class Object>
Result<> add_unique(std::vector<Object>& objects, Object object, const std::string& kind) {
  if (const Object* other = find_object(objects, object.ns, object.name)) {
    return fail(Code::kConflict, kind + " " + object.id() + " is given twice: in " + other->source +
                                     " and in " + object.source);
  }
  objects.push_back(std::move(object));
  return {};
}

Result<NetworkAttachmentDefinition> decode_nad(const Json& json, const std::string& source) {
  VMLANE_ASSIGN(Metadata metadata, read_metadata(json, "NetworkAttachmentDefinition"));
  NetworkAttachmentDefinition nad{.ns = metadata.ns, .name = metadata.name, .source = source};
  if (const auto resource = metadata.annotations.find(std::string(kResourceNameAnnotation));
      resource != metadata.annotations.end()) {
    nad.resource_name = resource->second;
  }
  ObjectReader top(json, "", Code::kInvalidConfig);
  VMLANE_ASSIGN(const Json* spec, read_object(top, "spec"));
  ObjectReader reader(*spec, "spec.", Code::kInvalidConfig);
  if (const Json* config = reader.find("config"); config != nullptr && config->is_object()) {
    return reader.wrong("config",
                        "the configuration as a string: in YAML, put \"|\" or quotes around the JSON");
  }
  VMLANE_ASSIGN(nad.config, read_string(reader, "config"));
  return nad;
}

Result<Container> decode_container(const Json& json, const std::string& what) {
  if (!json.is_object()) return fail(Code::kInvalidConfig, "key \"" + what + "\" is no object");
  ObjectReader reader(json, what + ".", Code::kInvalidConfig);
  Container container;
  VMLANE_ASSIGN(container.name, read_string(reader, "name"));
  VMLANE_TRY(check_dns_label(container.name, what + ".name"));
  VMLANE_ASSIGN(container.image, read_string(reader, "image"));
  VMLANE_ASSIGN(auto command, reader.strings("command"));
  VMLANE_ASSIGN(auto args, reader.strings("args"));
  container.command = std::move(command).value_or(std::vector<std::string>());
  container.args = std::move(args).value_or(std::vector<std::string>());
  return container;
}

Result<Pod> decode_pod(const Json& json, const std::string& source) {
  VMLANE_ASSIGN(Metadata metadata, read_metadata(json, "Pod"));
  Pod pod{.ns = metadata.ns,
          .name = metadata.name,
          .uid = metadata.uid,
          .labels = metadata.labels,
          .annotations = metadata.annotations,
          .source = source};
  ObjectReader top(json, "", Code::kInvalidConfig);
  VMLANE_ASSIGN(const Json* spec, read_object(top, "spec"));
  ObjectReader reader(*spec, "spec.", Code::kInvalidConfig);
  VMLANE_ASSIGN(pod.node_name, read_string(reader, "nodeName"));
  VMLANE_ASSIGN(const auto host_network, reader.boolean("hostNetwork"));
  pod.host_network = host_network.value_or(false);
  VMLANE_ASSIGN(const Json* containers, read_array(reader, "containers"));
  for (std::size_t i = 0; i < containers->size(); i++) {
    VMLANE_ASSIGN(Container container,
                  decode_container((*containers)[i], "spec.containers[" + std::to_string(i) + "]"));
    pod.containers.push_back(std::move(container));
  }
  return pod;
}

VirtualMachineInstance vm_with(const Metadata& metadata, const std::string& source) {
  return {.ns = metadata.ns,
          .name = metadata.name,
          .uid = metadata.uid,
          .labels = metadata.labels,
          .annotations = metadata.annotations,
          .source = source};
}

Result<VirtualMachineInstance> decode_instance(const Json& json, const std::string& source) {
  VMLANE_ASSIGN(const Metadata metadata, read_metadata(json, "VirtualMachineInstance"));
  VirtualMachineInstance vm = vm_with(metadata, source);
  ObjectReader top(json, "", Code::kInvalidConfig);
  VMLANE_ASSIGN(const Json* spec, read_object(top, "spec"));
  VMLANE_TRY(decode_vm_spec(*spec, vm));
  return vm;
}

// A VirtualMachine gives its template's labels, annotations and spec to the instance, which has a uid of its
// own.
Result<VirtualMachineInstance> decode_machine(const Json& json, const std::string& source) {
  VMLANE_ASSIGN(const Metadata metadata, read_metadata(json, "VirtualMachine"));
  VirtualMachineInstance vm = vm_with(metadata, source);
  vm.uid = derived_uid("VirtualMachineInstance", vm.ns, vm.name);
  vm.from_vm = true;
  ObjectReader top(json, "", Code::kInvalidConfig);
  VMLANE_ASSIGN(const Json* spec, read_object(top, "spec"));
  ObjectReader spec_reader(*spec, "spec.", Code::kInvalidConfig);
  VMLANE_ASSIGN(const Json* body, spec_reader.object("template"));
  if (body == nullptr) return spec_reader.wrong("template", "an object");
  ObjectReader reader(*body, "spec.template.", Code::kInvalidConfig);
  VMLANE_ASSIGN(const Json* inner, read_object(reader, "metadata"));
  ObjectReader inner_reader(*inner, "spec.template.metadata.", Code::kInvalidConfig);
  VMLANE_ASSIGN(vm.labels, read_string_map(inner_reader, "labels", "spec.template.metadata."));
  VMLANE_ASSIGN(vm.annotations, read_string_map(inner_reader, "annotations", "spec.template.metadata."));
  VMLANE_ASSIGN(const Json* instance_spec, read_object(reader, "spec"));
  VMLANE_TRY(decode_vm_spec(*instance_spec, vm));
  return vm;
}

enum class Kind { kNad, kPod, kInstance, kMachine, kOther };

Kind kind_of(std::string_view api_version, std::string_view kind) {
  if (api_version == "k8s.cni.cncf.io/v1" && kind == "NetworkAttachmentDefinition") return Kind::kNad;
  if (api_version == "v1" && kind == "Pod") return Kind::kPod;
  if (api_version.starts_with("kubevirt.io/") && kind == "VirtualMachineInstance") return Kind::kInstance;
  if (api_version.starts_with("kubevirt.io/") && kind == "VirtualMachine") return Kind::kMachine;
  return Kind::kOther;
}

}  // namespace

Result<ObjectStore> ObjectStore::load(const std::vector<fs::path>& paths) {
  ObjectStore store;
  for (const fs::path& path : paths) {
    store.searched_ += (store.searched_.empty() ? "" : ", ") + path.string();
    VMLANE_TRY(visit_manifests(path, [&](const Json& object, const std::string& source) {
      return store.add_object(object, source);
    }));
  }
  return store;
}

Result<> ObjectStore::add_text(std::string_view text, const std::string& source) {
  return visit_manifest_text(
      text, source, [&](const Json& object, const std::string& place) { return add_object(object, place); });
}

Result<> ObjectStore::add_object(const Json& object, const std::string& source) {
  if (!object.is_object()) return fail(Code::kInvalidConfig, source + " is no Kubernetes object");
  ObjectReader reader(object, "", Code::kInvalidConfig);
  const auto api_version = read_string(reader, "apiVersion");
  if (!api_version) return in_object(api_version.error(), source, "object", id_of(object));
  const auto kind = read_string(reader, "kind");
  if (!kind) return in_object(kind.error(), source, "object", id_of(object));
  if (kind->empty()) return fail(Code::kInvalidConfig, source + ": object " + id_of(object) + " has no kind");
  const auto add = [&]<class Object>(Result<Object> decoded, std::vector<Object>& into) -> Result<> {
    if (!decoded) return in_object(decoded.error(), source, *kind, id_of(object));
    return add_unique(into, std::move(*decoded), *kind);
  };
  switch (kind_of(*api_version, *kind)) {
    case Kind::kNad:
      return add(decode_nad(object, source), networks_);
    case Kind::kPod:
      return add(decode_pod(object, source), pods_);
    case Kind::kInstance:
    case Kind::kMachine: {
      auto vm = kind_of(*api_version, *kind) == Kind::kInstance ? decode_instance(object, source)
                                                                : decode_machine(object, source);
      if (!vm) return in_object(vm.error(), source, *kind, id_of(object));
      return add_vm(std::move(*vm), *kind);
    }
    case Kind::kOther:
      ignored_++;
  }
  return {};
}

Result<> ObjectStore::add_vm(VirtualMachineInstance vm, const std::string& kind) {
  const auto other = std::ranges::find_if(vms_, [&](const VirtualMachineInstance& candidate) {
    return candidate.ns == vm.ns && candidate.name == vm.name;
  });
  if (other == vms_.end() || other->from_vm == vm.from_vm) return add_unique(vms_, std::move(vm), kind);
  if (other->from_vm) *other = std::move(vm);  // the running instance knows better than its template
  return {};
}

Result<> ObjectStore::add_pod(Pod pod) {
  return add_unique(pods_, std::move(pod), "Pod");
}

const NetworkAttachmentDefinition* ObjectStore::find_network(std::string_view ns,
                                                             std::string_view name) const {
  return find_object(networks_, ns, name);
}

const Pod* ObjectStore::find_pod(std::string_view ns, std::string_view name) const {
  return find_object(pods_, ns, name);
}

const VirtualMachineInstance* ObjectStore::find_vm(std::string_view ns, std::string_view name) const {
  return find_object(vms_, ns, name);
}

}  // namespace vmlane::multus
