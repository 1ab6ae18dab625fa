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

std::set<std::string> AttachmentFiles::update() {
  std::set<std::string> changed;
  DirectoryEvents events = watch_.drain();
  if (read_again_) {
    for (auto& [name, identity] : files_) identity = {};
  }
  if (events.everything || read_again_) {
    for (const auto& [name, identity] : files_) events.names.insert(name);
    const auto listed = watch_.watching() ? list_files(watch_.directory(), is_no_temporary) : FileList();
    if (!listed) return changed;  // the directory went just now
    for (const auto& [name, identity] : *listed) events.names.insert(name);
  }
  read_again_ = false;
  for (const std::string& name : events.names) {
    if (is_no_temporary(name)) look_at(name, changed);
  }
  return changed;
}

void AttachmentFiles::look_at(const std::string& name, std::set<std::string>& changed) {
  const auto identity = identify(watch_.directory() / name);
  const auto known = files_.find(name);
  if (!identity) {
    if (known == files_.end()) return;
    const std::string id = fs::path(name).stem().string();
    records_.erase(id);
    changed.insert(id);
    problems_.erase(name);
    files_.erase(known);
    return;
  }
  if (known != files_.end() && known->second == *identity) return;
  files_[name] = *identity;
  read(name, changed);
}

void AttachmentFiles::read(const std::string& name, std::set<std::string>& changed) {
  const fs::path path(name);
  const std::string id = path.stem().string();
  changed.insert(id);
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
