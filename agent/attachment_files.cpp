// SPDX-License-Identifier: Apache-2.0
#include "agent/attachment_files.h"

namespace vmlane::agent {

namespace fs = std::filesystem;

namespace {

// What writes a record or any other file atomically has a name of this kind until it is whole.
bool is_no_temporary(const fs::path& path) {
  return !path.filename().string().starts_with('.');
}

}  // namespace

Result<AttachmentFiles> AttachmentFiles::open(const NodeConfig& config) {
  VMLANE_ASSIGN(DirectoryWatch watch, DirectoryWatch::open(config.attachments_dir()));
  return AttachmentFiles(std::move(watch), RecordStore(config));
}

bool AttachmentFiles::update() {
  watch_.drain();
  watch_.follow_name();
  FileList present;
  if (watch_.watching()) {
    auto listed = list_files(watch_.directory(), is_no_temporary);
    if (!listed) return false;  // the directory went just now
    present = std::move(*listed);
  }
  bool changed = false;
  std::erase_if(files_, [&](const auto& file) {
    const bool gone = !present.contains(file.first);
    if (gone) {
      records_.erase(fs::path(file.first).stem().string());
      problems_.erase(file.first);
      changed = true;
    }
    return gone;
  });
  for (const auto& [name, identity] : present) {
    const auto known = files_.find(name);
    if (known != files_.end() && known->second == identity) continue;
    files_[name] = identity;
    read(name);
    changed = true;
  }
  return changed;
}

void AttachmentFiles::read(const std::string& name) {
  const fs::path path(name);
  const std::string id = path.stem().string();
  if (path.extension() != ".json" || !is_attachment_id(id)) {
    problems_[name] = {Code::kDecode, (watch_.directory() / name).string() + " is not an attachment record",
                       "it is left alone", nullptr};
    return;
  }
  auto record = store_.read(id);
  if (!record) {
    problems_[name] = record.error();
    return;
  }
  problems_.erase(name);
  if (*record) records_[id] = std::move(**record);
}

}  // namespace vmlane::agent
