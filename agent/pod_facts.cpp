// SPDX-License-Identifier: Apache-2.0
#include "agent/pod_facts.h"

#include <algorithm>
#include <set>

#include "core/files.h"
#include "core/names.h"
#include "multus-adapter/pod_files.h"

namespace vmlane::agent {

namespace fs = std::filesystem;

namespace {

constexpr const char* kWriter = "vmlane-agent";

bool is_ours(const fs::path& file) {
  const auto text = read_file(file);
  if (!text || !*text) return false;
  const auto json = parse_json(**text, file.string());
  return json && json->is_object() && json->value("writer", Json()) == kWriter;
}

}  // namespace

Result<> PodFacts::write(const multus::Pod& pod) {
  Json facts = multus::pod_facts(pod);
  facts["writer"] = kWriter;
  const std::string text = to_text(facts);
  std::error_code error;
  // A DEL through vmlane-multus takes the facts along, and the pod may be started again.
  const bool there = fs::exists(config_.pods_dir() / (pod.uid + ".json"), error);
  if (const auto known = written_.find(pod.uid); there && known != written_.end() && known->second == text)
    return {};
  const auto written = multus::write_pod_file(config_, config_.pods_dir(), pod.uid, facts);
  if (!written) return fail(written.error().wrap("cannot write the facts of pod " + pod.id()));
  written_[pod.uid] = text;
  return {};
}

void PodFacts::remove_others(const std::map<std::string, multus::Pod>& pods,
                             const std::map<std::string, AttachmentRecord>& records) {
  std::set<std::string> needed;
  for (const auto& [id, pod] : pods) needed.insert(pod.uid);
  for (const auto& [id, record] : records) needed.insert(record.pod.uid);
  std::error_code error;
  std::vector<fs::path> unneeded;
  for (fs::directory_iterator it(config_.pods_dir(), error); !error && it != fs::directory_iterator();
       it.increment(error)) {
    const fs::path& file = it->path();
    if (file.extension() == ".json" && !needed.contains(file.stem().string()) && is_ours(file))
      unneeded.push_back(file);
  }
  for (const fs::path& file : unneeded) {
    // What cannot be removed now is there the next time.
    if (remove_file(file)) written_.erase(file.stem().string());
  }
}

}  // namespace vmlane::agent
