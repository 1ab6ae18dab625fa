// SPDX-License-Identifier: Apache-2.0
#include "multus-adapter/pod_state.h"

#include <algorithm>

#include "core/files.h"
#include "core/hash.h"
#include "manifests/fields.h"

namespace vmlane::multus {
namespace {

namespace fs = std::filesystem;

Result<std::vector<Json>> read_objects(ObjectReader& reader, std::string_view key) {
  VMLANE_ASSIGN(const Json* list, read_array(reader, key));
  std::vector<Json> objects;
  for (const Json& item : *list) {
    if (!item.is_object()) return reader.wrong(key, "a list of objects");
    objects.push_back(item);
  }
  return objects;
}

Result<bool> read_flag(ObjectReader& reader, std::string_view key) {
  VMLANE_ASSIGN(const auto value, reader.boolean(key));
  return value.value_or(false);
}

Result<std::optional<PodState>> read_state(const fs::path& path) {
  VMLANE_ASSIGN(const auto text, read_file(path));
  if (!text) return std::nullopt;
  VMLANE_ASSIGN(const Json json, parse_json(*text, path.string()));
  auto state = PodState::from_json(json);
  if (!state) return fail(state.error().code, path.string() + ": " + state.error().message);
  return std::move(*state);
}

}  // namespace

Json AttachmentState::to_json() const {
  return {{"nad", nad},
          {"network", network},
          {"ifname", ifname},
          {"isDefault", is_default},
          {"cniVersion", cni_version},
          {"plugins", plugins},
          {"inputs", inputs},
          {"cniArgs", cni_args},
          {"deviceInfoFile", device_info_file},
          {"disableCheck", disable_check},
          {"disableGC", disable_gc},
          {"started", started},
          {"result", result}};
}

Result<AttachmentState> AttachmentState::from_json(const Json& json) {
  ObjectReader reader(json, "attachments[].", Code::kDecode);
  AttachmentState state;
  VMLANE_ASSIGN(state.nad, read_string(reader, "nad"));
  VMLANE_ASSIGN(state.network, read_string(reader, "network"));
  VMLANE_ASSIGN(state.ifname, read_string(reader, "ifname"));
  VMLANE_ASSIGN(state.is_default, read_flag(reader, "isDefault"));
  VMLANE_ASSIGN(state.cni_version, read_string(reader, "cniVersion"));
  VMLANE_ASSIGN(state.plugins, read_objects(reader, "plugins"));
  VMLANE_ASSIGN(state.inputs, read_objects(reader, "inputs"));
  VMLANE_ASSIGN(state.cni_args, read_string(reader, "cniArgs"));
  VMLANE_ASSIGN(state.device_info_file, read_string(reader, "deviceInfoFile"));
  VMLANE_ASSIGN(state.disable_check, read_flag(reader, "disableCheck"));
  VMLANE_ASSIGN(state.disable_gc, read_flag(reader, "disableGC"));
  VMLANE_ASSIGN(state.started, read_flag(reader, "started"));
  if (const Json* result = reader.find("result")) state.result = *result;
  for (const Json& input : state.inputs) {
    if (const auto type = input.find("type"); type == input.end() || !type->is_string())
      return reader.wrong("inputs", "objects with a type");
  }
  return state;
}

Json PodState::to_json() const {
  Json list = Json::array();
  for (const AttachmentState& attachment : attachments) list.push_back(attachment.to_json());
  return {{"schema", kSchema},
          {"containerID", container_id},
          {"pod", {{"namespace", pod_ns}, {"name", pod_name}, {"uid", pod_uid}}},
          {"netns", netns},
          {"attachments", std::move(list)}};
}

Result<PodState> PodState::from_json(const Json& json) {
  if (!json.is_object()) return fail(Code::kDecode, "the state is no JSON object");
  ObjectReader reader(json, "", Code::kDecode);
  VMLANE_ASSIGN(const auto schema, reader.integer("schema", kSchema, kSchema));
  if (!schema) return reader.wrong("schema", std::to_string(kSchema));
  PodState state;
  VMLANE_ASSIGN(state.container_id, read_string(reader, "containerID"));
  VMLANE_ASSIGN(const Json* pod, read_object(reader, "pod"));
  ObjectReader pod_reader(*pod, "pod.", Code::kDecode);
  VMLANE_ASSIGN(state.pod_ns, read_string(pod_reader, "namespace"));
  VMLANE_ASSIGN(state.pod_name, read_string(pod_reader, "name"));
  VMLANE_ASSIGN(state.pod_uid, read_string(pod_reader, "uid"));
  VMLANE_ASSIGN(state.netns, read_string(reader, "netns"));
  VMLANE_ASSIGN(const auto attachments, read_objects(reader, "attachments"));
  for (const Json& attachment : attachments) {
    VMLANE_ASSIGN(AttachmentState decoded, AttachmentState::from_json(attachment));
    state.attachments.push_back(std::move(decoded));
  }
  return state;
}

fs::path PodStateStore::path_of(const std::string& container_id) const {
  constexpr std::size_t kDigits = 32;
  return directory_ / (sha256_hex(container_id).substr(0, kDigits) + ".json");
}

Result<std::optional<PodState>> PodStateStore::read(const std::string& container_id) const {
  VMLANE_TRY(check_directory(directory_));
  return read_state(path_of(container_id));
}

Result<> PodStateStore::write(const PodState& state) const {
  VMLANE_TRY(make_directory(directory_, {.mode = 0750, .group = group_}));
  return write_file_atomically(path_of(state.container_id), to_text(state.to_json()) + "\n",
                               {.mode = 0640, .group = group_});
}

Result<> PodStateStore::remove(const std::string& container_id) const {
  VMLANE_TRY(check_directory(directory_));
  return remove_file(path_of(container_id));
}

Result<std::vector<PodState>> PodStateStore::list() const {
  VMLANE_TRY(check_directory(directory_));
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator it(directory_, error); !error && it != fs::directory_iterator();
       it.increment(error)) {
    if (it->path().extension() == ".json" && !it->path().filename().string().starts_with('.'))
      files.push_back(it->path());
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return fail(io_error("cannot read directory " + directory_.string(), error.value()));
  }
  std::ranges::sort(files);
  std::vector<PodState> states;
  for (const fs::path& file : files) {
    auto state = read_state(file);
    if (state && *state) states.push_back(std::move(**state));
  }
  return states;
}

}  // namespace vmlane::multus
