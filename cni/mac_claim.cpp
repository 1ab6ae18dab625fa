// SPDX-License-Identifier: Apache-2.0
#include "cni/mac_claim.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <vector>

#include "core/files.h"
#include "core/lock.h"

namespace vmlane::cni {
namespace {

namespace fs = std::filesystem;

fs::path target_of(const std::string& attachment_id) {
  return fs::path("../../attachments") / (attachment_id + ".json");
}

// The attachment id that a claim points to; empty when there is no claim or something else in its place.
std::string pointed_to(const fs::path& claim) {
  std::array<char, 256> target{};
  const ssize_t length = ::readlink(claim.c_str(), target.data(), target.size());
  if (length <= 0) return {};
  return fs::path(std::string(target.data(), static_cast<std::size_t>(length))).stem().string();
}

Result<> point(const fs::path& claim, const std::string& attachment_id) {
  VMLANE_TRY(remove_file(claim));
  if (::symlink(target_of(attachment_id).c_str(), claim.c_str()) == 0) return {};
  return fail(io_error("cannot make " + claim.string(), errno));
}

// The directory of a segment that nobody is on goes with its last claim. Under the segment's lock; one that
// is not empty stays.
void tidy(const fs::path& directory) {
  ::rmdir(directory.c_str());
}

std::vector<fs::path> entries_of(const fs::path& directory) {
  std::vector<fs::path> found;
  std::error_code error;
  fs::directory_iterator entries(directory, error);
  for (; !error && entries != fs::directory_iterator(); entries.increment(error))
    found.push_back(entries->path());
  return found;
}

Result<ObjectLock> lock_segment(const NodeConfig& config, const std::string& network_id) {
  return ObjectLock::acquire(config.locks_dir(), "macs", network_id);
}

}  // namespace

Result<std::optional<AttachmentRecord>> MacClaims::owner_in(const fs::path& claim) const {
  const std::string id = pointed_to(claim);
  if (id.empty()) return std::nullopt;
  auto record = RecordStore(config_).read(id);
  // A record that cannot be read is no reason to refuse others; its own DEL goes by names.
  if (!record || !*record) return std::nullopt;
  return std::move(*record);
}

Result<std::optional<AttachmentRecord>> MacClaims::owner(const MacAddress& mac) const {
  return owner_in(directory_ / mac.to_string());
}

Result<bool> MacClaims::take(const MacAddress& mac, const std::string& attachment_id,
                             const std::string& from) const {
  VMLANE_ASSIGN(const auto lock, lock_segment(config_, std::to_string(network_id_)));
  VMLANE_TRY(make_directory(config_.macs_dir(), {.mode = 0750, .group = config_.vmlane_gid}));
  VMLANE_TRY(make_directory(directory_, {.mode = 0750, .group = config_.vmlane_gid}));
  const fs::path claim = directory_ / mac.to_string();
  VMLANE_ASSIGN(const auto owner, owner_in(claim));
  if (owner && owner->key.id() != attachment_id && owner->key.id() != from) return false;
  VMLANE_TRY(point(claim, attachment_id));
  return true;
}

Result<> MacClaims::release(const MacAddress& mac, const std::string& attachment_id,
                            const std::string& heir) const {
  VMLANE_ASSIGN(const auto lock, lock_segment(config_, std::to_string(network_id_)));
  const fs::path claim = directory_ / mac.to_string();
  if (pointed_to(claim) == attachment_id) VMLANE_TRY(heir.empty() ? remove_file(claim) : point(claim, heir));
  tidy(directory_);
  return {};
}

Result<> release_all_macs(const NodeConfig& config, const std::string& attachment_id) {
  for (const fs::path& segment : entries_of(config.macs_dir())) {
    VMLANE_ASSIGN(const auto lock, lock_segment(config, segment.filename().string()));
    for (const fs::path& claim : entries_of(segment)) {
      if (pointed_to(claim) == attachment_id) VMLANE_TRY(remove_file(claim));
    }
    tidy(segment);
  }
  return {};
}

MacAddress workload_mac(const AttachmentKey& key, const PodIdentity& pod) {
  const std::string workload = pod.workload();
  if (workload.empty()) return attachment_mac(key);
  return MacAddress::derived("nic\n" + workload + "\n" + key.network + "\n" + key.ifname);
}

MacAddress attachment_mac(const AttachmentKey& key) {
  return MacAddress::derived("nic\n" + key.id());
}

}  // namespace vmlane::cni
