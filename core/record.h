// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/node_config.h"

namespace vmlane {

// Whether a text has the form of an attachment id: 32 lower-case hex digits.
bool is_attachment_id(std::string_view id);

// What an operation on an attachment is about; its hash is the attachment id.
struct AttachmentKey {
  std::string network;  // the CNI config's name
  std::string container_id;
  std::string ifname;

  std::string id() const;
  bool operator==(const AttachmentKey&) const = default;
};

enum class RecordState { kIntent, kDone, kDeleting };
std::string_view to_string(RecordState state);

// Where a network namespace was when ADD saw it. Inodes recycle: only when all that is known agrees is it the
// same one.
struct NamespaceIdentity {
  std::string path;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::optional<std::uint64_t> cookie;  // SO_NETNS_COOKIE, unique within a boot
};

// Whether both are the same namespace, as far as both know.
bool same_namespace(const NamespaceIdentity& a, const NamespaceIdentity& b);

// Whose NIC it is. A VM is itself in whatever pod it runs; a pod is its namespace and name.
struct PodIdentity {
  std::string ns;
  std::string name;
  std::string uid;
  std::string vm;         // name of the VM, empty for a pod that runs none
  std::string migration;  // uid of the migration whose target the pod is, else empty

  // "<ns>/vm/<name>" or "<ns>/pod/<name>"; empty when nobody said who the pod is.
  std::string workload() const;
  Json to_json() const;
  // The value under "pod" of a record.
  static Result<PodIdentity> from_json(const Json& json);
};

// The attachment record, `<stateDir>/attachments/<id>.json`: written before the kernel is touched (intent),
// after (done), and at the start of DEL (deleting). Only CNI plugins write it; daemons watch the directory.
struct AttachmentRecord {
  static constexpr int kSchema = 1;

  RecordState state = RecordState::kIntent;
  AttachmentKey key;
  std::string plugin;  // type: "vmlane-tap"
  Json netconf;        // the whole config as it came on stdin, with ipam
  std::string cni_args;
  std::string cni_path;
  NamespaceIdentity netns;
  std::string boot_id;
  PodIdentity pod;
  std::string nad;                          // "ns/name" or "default"; empty while unknown
  std::optional<std::uint32_t> network_id;  // of the L2 segment
  std::optional<std::string> mac;           // the NIC the workload sees
  std::optional<std::uint32_t> mtu;
  bool ipam = false;         // IPAM ADD was called, or is about to be
  std::string ipam_version;  // CNI version the IPAM plugin understood, empty while it is the config's
  Json handles;              // lane's own: link names and indexes, tap, bridge
  Json result;               // the CNI result in its newest form, once done
  std::string created;       // utc_now() of the ADD

  Json to_json() const;
  static Result<AttachmentRecord> from_json(const Json& json);
};

// The directory of records.
class RecordStore {
 public:
  explicit RecordStore(const NodeConfig& config)
      : directory_(config.attachments_dir()), group_(config.vmlane_gid) {}

  // No value when there is none. A file that is cut, foreign or unreadable is an error naming it; DEL then
  // goes by names.
  Result<std::optional<AttachmentRecord>> read(const std::string& id) const;
  Result<> write(const AttachmentRecord& record, Sync sync = Sync::kFull) const;
  // For a record that was written with Sync::kLater.
  Result<> sync(const std::string& id) const { return sync_file(path_of(id)); }
  Result<> remove(const std::string& id) const;

  struct Listing {
    std::vector<AttachmentRecord> records;  // sorted by creation
    std::vector<Error> problems;            // one for each file that is no record
  };
  Result<Listing> list() const;

 private:
  std::filesystem::path path_of(const std::string& id) const { return directory_ / (id + ".json"); }
  std::filesystem::path directory_;
  gid_t group_;
};

// The node's number for an L2 segment (a bridge or lower device or switch network, plus VLAN), from
// `<stateDir>/networks`; allocated at first use under a lock and never given to another segment. NADs that
// name one segment share it. `segment` is e.g. "bridge:br1" or "bridge:br1:vlan:7".
Result<std::uint32_t> network_id(const NodeConfig& config, const std::string& segment);

}  // namespace vmlane
