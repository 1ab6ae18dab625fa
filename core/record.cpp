// SPDX-License-Identifier: Apache-2.0
#include "core/record.h"

#include <algorithm>
#include <array>
#include <set>

#include "core/files.h"
#include "core/lock.h"
#include "core/names.h"

namespace vmlane {
namespace {

constexpr std::array<std::string_view, 3> kStateNames = {"intent", "done", "deleting"};
static_assert(kStateNames.size() == static_cast<std::size_t>(RecordState::kDeleting) + 1);

Result<std::string> required(ObjectReader& reader, std::string_view key) {
  VMLANE_ASSIGN(auto value, reader.string(key));
  if (!value) return reader.wrong(key, "a string");
  return *value;
}

Result<RecordState> parse_state(ObjectReader& reader) {
  VMLANE_ASSIGN(const std::string name, required(reader, "state"));
  const auto at = std::ranges::find(kStateNames, name);
  if (at == kStateNames.end()) return reader.wrong("state", "intent, done or deleting");
  return static_cast<RecordState>(at - kStateNames.begin());
}

Result<NamespaceIdentity> parse_netns(const Json& json) {
  ObjectReader reader(json, "netns.", Code::kDecode);
  NamespaceIdentity netns;
  VMLANE_ASSIGN(netns.path, required(reader, "path"));
  VMLANE_ASSIGN(const auto device, reader.integer("device", 0, INT64_MAX));
  VMLANE_ASSIGN(const auto inode, reader.integer("inode", 0, INT64_MAX));
  VMLANE_ASSIGN(const auto cookie, reader.integer("cookie", 0, INT64_MAX));
  netns.device = static_cast<std::uint64_t>(device.value_or(0));
  netns.inode = static_cast<std::uint64_t>(inode.value_or(0));
  if (cookie) netns.cookie = static_cast<std::uint64_t>(*cookie);
  return netns;
}

// {"schema": 1, "next": N, "segments": {segment: number}} with distinct numbers from 1 to N - 1.
bool is_network_table(const Json& json) {
  const auto member = [&json](const char* key) {
    return json.is_object() && json.contains(key) ? json[key] : Json();
  };
  const Json next = member("next");
  const Json segments = member("segments");
  if (member("schema") != 1 || !next.is_number_unsigned() || !segments.is_object()) return false;
  std::set<std::uint64_t> numbers;
  for (const Json& number : segments) {
    const bool allotted = number.is_number_unsigned() && number > 0 && number < next;
    if (!allotted || !numbers.insert(number.get<std::uint64_t>()).second) return false;
  }
  return next > 0 && next <= std::uint64_t{UINT32_MAX} + 1;
}

}  // namespace

bool is_attachment_id(std::string_view id) {
  constexpr std::size_t kDigits = 32;
  return id.size() == kDigits &&
         std::ranges::all_of(id, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string AttachmentKey::id() const {
  return names::attachment_id(network, container_id, ifname);
}

bool same_namespace(const NamespaceIdentity& a, const NamespaceIdentity& b) {
  const bool cookies_agree = !a.cookie || !b.cookie || a.cookie == b.cookie;
  return a.device == b.device && a.inode == b.inode && cookies_agree;
}

std::string PodIdentity::workload() const {
  if (name.empty()) return {};
  return ns + (vm.empty() ? "/pod/" + name : "/vm/" + vm);
}

Json PodIdentity::to_json() const {
  Json json = {{"namespace", ns}, {"name", name}};
  if (!uid.empty()) json["uid"] = uid;
  if (!vm.empty()) json["vm"] = vm;
  if (!migration.empty()) json["migration"] = migration;
  return json;
}

Result<PodIdentity> PodIdentity::from_json(const Json& json) {
  ObjectReader reader(json, "pod.", Code::kDecode);
  PodIdentity pod;
  VMLANE_ASSIGN(pod.ns, required(reader, "namespace"));
  VMLANE_ASSIGN(pod.name, required(reader, "name"));
  VMLANE_ASSIGN(pod.uid, reader.text("uid"));
  VMLANE_ASSIGN(pod.vm, reader.text("vm"));
  VMLANE_ASSIGN(pod.migration, reader.text("migration"));
  return pod;
}

std::string_view to_string(RecordState state) {
  return kStateNames[static_cast<std::size_t>(state)];
}

Json AttachmentRecord::to_json() const {
  Json json = {{"schema", kSchema},
               {"id", key.id()},
               {"state", to_string(state)},
               {"cni_network", key.network},
               {"container_id", key.container_id},
               {"ifname", key.ifname},
               {"plugin", plugin},
               {"netconf", netconf},
               {"cni_args", cni_args},
               {"cni_path", cni_path},
               {"netns", {{"path", netns.path}, {"device", netns.device}, {"inode", netns.inode}}},
               {"boot_id", boot_id},
               {"ipam", ipam},
               {"created", created}};
  if (!ipam_version.empty()) json["ipam_version"] = ipam_version;
  if (netns.cookie) json["netns"]["cookie"] = *netns.cookie;
  if (!pod.name.empty()) json["pod"] = pod.to_json();
  if (!nad.empty()) json["nad"] = nad;
  if (network_id) json["network_id"] = *network_id;
  if (mac) json["mac"] = *mac;
  if (mtu) json["mtu"] = *mtu;
  if (!handles.is_null()) json["handles"] = handles;
  if (!result.is_null()) json["result"] = result;
  return json;
}

Result<AttachmentRecord> AttachmentRecord::from_json(const Json& json) {
  if (!json.is_object()) return fail(Code::kDecode, "a record is a JSON object");
  ObjectReader reader(json, "", Code::kDecode);
  VMLANE_ASSIGN(const auto schema, reader.integer("schema", 0, INT32_MAX));
  if (schema != kSchema) return reader.wrong("schema", std::to_string(kSchema));
  AttachmentRecord record;
  VMLANE_ASSIGN(record.state, parse_state(reader));
  VMLANE_ASSIGN(record.key.network, required(reader, "cni_network"));
  VMLANE_ASSIGN(record.key.container_id, required(reader, "container_id"));
  VMLANE_ASSIGN(record.key.ifname, required(reader, "ifname"));
  VMLANE_ASSIGN(record.plugin, required(reader, "plugin"));
  VMLANE_ASSIGN(const Json* netconf, reader.object("netconf"));
  if (netconf == nullptr) return reader.wrong("netconf", "an object");
  record.netconf = *netconf;
  VMLANE_ASSIGN(record.cni_args, required(reader, "cni_args"));
  VMLANE_ASSIGN(record.cni_path, required(reader, "cni_path"));
  VMLANE_ASSIGN(const Json* netns, reader.object("netns"));
  if (netns == nullptr) return reader.wrong("netns", "an object");
  VMLANE_ASSIGN(record.netns, parse_netns(*netns));
  VMLANE_ASSIGN(record.boot_id, required(reader, "boot_id"));
  VMLANE_ASSIGN(const auto ipam, reader.boolean("ipam"));
  record.ipam = ipam.value_or(false);
  VMLANE_ASSIGN(record.ipam_version, reader.text("ipam_version"));
  VMLANE_ASSIGN(record.created, reader.text("created"));
  VMLANE_ASSIGN(const Json* pod, reader.object("pod"));
  if (pod != nullptr) {
    VMLANE_ASSIGN(record.pod, PodIdentity::from_json(*pod));
  }
  VMLANE_ASSIGN(record.nad, reader.text("nad"));
  VMLANE_ASSIGN(const auto network, reader.integer("network_id", 1, UINT32_MAX));
  if (network) record.network_id = static_cast<std::uint32_t>(*network);
  VMLANE_ASSIGN(record.mac, reader.string("mac"));
  VMLANE_ASSIGN(const auto mtu, reader.integer("mtu", 0, UINT32_MAX));
  if (mtu) record.mtu = static_cast<std::uint32_t>(*mtu);
  VMLANE_ASSIGN(const Json* handles, reader.object("handles"));
  record.handles = handles == nullptr ? Json() : *handles;
  VMLANE_ASSIGN(const Json* result, reader.object("result"));
  record.result = result == nullptr ? Json() : *result;
  return record;
}

Result<std::optional<AttachmentRecord>> RecordStore::read(const std::string& id) const {
  const auto path = path_of(id);
  VMLANE_TRY(check_directory(directory_));
  VMLANE_ASSIGN(const auto content, read_file(path));
  if (!content) return std::nullopt;
  const std::string subject = "attachment record " + path.string();
  VMLANE_ASSIGN(const Json json, parse_json(*content, subject));
  auto record = AttachmentRecord::from_json(json);
  if (!record) return fail(record.error().wrap(subject + " cannot be used"));
  if (record->key.id() != id)
    return fail(Code::kDecode, subject + " is of another attachment, " + record->key.id());
  return std::optional<AttachmentRecord>(std::move(*record));
}

Result<> RecordStore::write(const AttachmentRecord& record, Sync sync) const {
  VMLANE_TRY(make_directory(directory_, {.mode = 0750, .group = group_}));
  return write_file_atomically(path_of(record.key.id()),
                               record.to_json().dump(1, ' ', false, Json::error_handler_t::replace) + "\n",
                               {.mode = 0640, .group = group_, .sync = sync});
}

Result<> RecordStore::remove(const std::string& id) const {
  VMLANE_TRY(check_directory(directory_));
  return remove_file(path_of(id));
}

Result<RecordStore::Listing> RecordStore::list() const {
  Listing listing;
  VMLANE_TRY(check_directory(directory_));
  std::error_code error;
  std::filesystem::directory_iterator entries(directory_, error);
  if (error == std::errc::no_such_file_or_directory) return listing;
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    const auto path = entries->path();
    if (path.filename().string().starts_with(".")) continue;  // temporary files
    if (path.extension() != ".json" || !is_attachment_id(path.stem().string())) {
      listing.problems.push_back(
          Error{Code::kDecode, path.string() + " is not an attachment record", "it is left alone", nullptr});
      continue;
    }
    auto record = read(path.stem().string());
    if (!record)
      listing.problems.push_back(record.error());
    else if (*record)
      listing.records.push_back(std::move(**record));
  }
  if (error) return fail(io_error("cannot list " + directory_.string(), error.value()));
  std::ranges::sort(listing.records, {}, [](const AttachmentRecord& record) {
    return std::pair(record.created, record.key.id());
  });
  return listing;
}

Result<std::uint32_t> network_id(const NodeConfig& config, const std::string& segment) {
  VMLANE_ASSIGN(const auto lock, ObjectLock::acquire(config.locks_dir(), "networks", "networks"));
  const auto path = config.networks_file();
  const std::string subject = "network table " + path.string();
  VMLANE_ASSIGN(const auto content, read_file(path));
  Json table = {{"schema", 1}, {"next", 1}, {"segments", Json::object()}};
  if (content) {
    VMLANE_ASSIGN(table, parse_json(*content, subject));
    // Starting afresh would give a number that attachments in use have to another segment.
    if (!is_network_table(table))
      return fail(Code::kDecode, subject + " is not a network table of schema 1",
                  "remove it when no attachment is left");
  }
  const auto known = table["segments"].find(segment);
  if (known != table["segments"].end()) return known->get<std::uint32_t>();
  const auto id = table["next"].get<std::uint64_t>();
  if (id > UINT32_MAX) return fail(Code::kInternal, subject + " has no number left for " + segment);
  table["segments"][segment] = id;
  table["next"] = id + 1;
  // The state directory itself may be a symlink that an administrator made, as for the records.
  std::error_code unknown;
  if (!std::filesystem::is_directory(config.state_dir, unknown))
    VMLANE_TRY(make_directory(config.state_dir, {.mode = 0750, .group = config.vmlane_gid}));
  VMLANE_TRY(write_file_atomically(path, table.dump(1) + "\n", {.mode = 0640, .group = config.vmlane_gid}));
  return static_cast<std::uint32_t>(id);
}

}  // namespace vmlane
