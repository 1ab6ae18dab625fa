// SPDX-License-Identifier: Apache-2.0
#include "cli/nic_choice.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "core/files.h"
#include "core/json.h"

namespace vmlane::cli {
namespace {

constexpr std::string_view kContainerLane = "vmlane-veth";

// "name" or "namespace/name".
bool fits(const std::string& wanted, const std::string& ns, const std::string& name) {
  return !name.empty() && (wanted == name || wanted == ns + "/" + name);
}

bool fits(const NicChoice& choice, const AttachmentRecord& record) {
  if (!choice.pod.empty()) return fits(choice.pod, record.pod.ns, record.pod.name);
  if (!choice.vm.empty()) return fits(choice.vm, record.pod.ns, record.pod.vm);
  return record.key.container_id == choice.container_id;
}

std::string subject_of(const NicChoice& choice) {
  if (!choice.pod.empty()) return "pod " + choice.pod;
  if (!choice.vm.empty()) return "VM " + choice.vm;
  return "container " + choice.container_id;
}

std::string subject_of(const AttachmentRecord& record) {
  return "attachment " + record.key.id() + " (" + record.key.ifname + ")";
}

// Why a record is left out; empty for one that is taken.
std::string flaw_of(const AttachmentRecord& record, bool named) {
  if (record.state != RecordState::kDone)
    return "it is in state " + std::string(to_string(record.state)) + ", not done";
  if (record.plugin == kContainerLane && !named)
    return "it is a container's, by " + record.plugin + "; --ifname " + record.key.ifname + " takes it";
  return {};
}

Result<> check_one_sandbox(const std::vector<AttachmentRecord>& records, const std::string& subject) {
  std::set<std::string> containers;
  for (const AttachmentRecord& record : records) containers.insert(record.key.container_id);
  if (containers.size() <= 1) return {};
  std::string list;
  for (const std::string& container : containers) list += (list.empty() ? "" : ", ") + container;
  return fail(Code::kConflict, subject + " fits more than one sandbox, containers " + list,
              "name one with --container-id");
}

Result<AttachmentRecord> read_record_file(const std::string& file) {
  const std::string subject = "attachment record " + file;
  std::error_code error;
  const auto path = std::filesystem::canonical(file, error);  // the user may name a symlink
  if (error) return fail(io_error("cannot read " + subject, error.value()));
  VMLANE_ASSIGN(const auto text, read_file(path));
  VMLANE_ASSIGN(const Json json, parse_json(text.value_or(""), subject));
  auto record = AttachmentRecord::from_json(json);
  if (!record) return fail(record.error().wrap(subject + " cannot be used"));
  const std::string flaw = flaw_of(*record, true);
  if (!flaw.empty()) return fail(Code::kTryAgain, subject + " cannot be used: " + flaw);
  return record;
}

}  // namespace

Result<std::vector<AttachmentRecord>> choose_nics(const std::vector<AttachmentRecord>& records,
                                                  const NicChoice& choice,
                                                  std::vector<std::string>& warnings) {
  std::vector<AttachmentRecord> chosen;
  std::set<std::string> missing(choice.ifnames.begin(), choice.ifnames.end());
  for (const AttachmentRecord& record : records) {
    if (!fits(choice, record)) continue;
    const bool named = std::ranges::find(choice.ifnames, record.key.ifname) != choice.ifnames.end();
    if (!named && !choice.ifnames.empty()) continue;
    const std::string flaw = flaw_of(record, named);
    if (!flaw.empty()) {
      warnings.push_back(subject_of(record) + " is left out: " + flaw);
      continue;
    }
    missing.erase(record.key.ifname);
    chosen.push_back(record);
  }
  if (!missing.empty()) {
    return fail(Code::kNotFound,
                subject_of(choice) + " has no attachment " + *missing.begin() + " in state done",
                "list them with: vmlanectl attachment ls");
  }
  if (chosen.empty()) {
    return fail(Code::kNotFound, subject_of(choice) + " has no NIC of a VM on this node",
                "list attachments with: vmlanectl attachment ls");
  }
  VMLANE_TRY(check_one_sandbox(chosen, subject_of(choice)));
  return chosen;
}

Result<std::vector<AttachmentRecord>> read_record_files(const std::vector<std::string>& files) {
  std::vector<AttachmentRecord> records;
  for (const std::string& file : files) {
    VMLANE_ASSIGN(AttachmentRecord record, read_record_file(file));
    if (!records.empty() && records.front().key.container_id != record.key.container_id) {
      return fail(Code::kConflict, "attachment record " + file + " is of container " +
                                       record.key.container_id + ", " + files.front() + " of container " +
                                       records.front().key.container_id);
    }
    records.push_back(std::move(record));
  }
  return records;
}

}  // namespace vmlane::cli
