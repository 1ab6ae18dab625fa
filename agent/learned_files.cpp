// SPDX-License-Identifier: Apache-2.0
#include "agent/learned_files.h"

#include <set>

#include "core/files.h"

namespace vmlane::agent {

namespace fs = std::filesystem;

std::vector<Error> LearnedFiles::update(const std::map<std::string, Attachment>& attachments) {
  std::vector<Error> errors;
  std::set<std::string> known;
  for (const auto& [id, attachment] : attachments) {
    if (!attachment.record->nad.empty() || attachment.network.empty()) continue;
    known.insert(id);
    const std::string text =
        to_text({{"schema", 1}, {"pod", attachment.pod}, {"nad", attachment.network}}) + "\n";
    if (written_[id] == text) continue;
    auto written = make_directory(config_.agent_dir(), {.mode = 0750, .group = config_.vmlane_gid});
    if (written)
      written = write_file_atomically(config_.agent_dir() / (id + ".json"), text,
                                      {.mode = 0640, .group = config_.vmlane_gid, .sync = Sync::kContent});
    if (written)
      written_[id] = text;
    else
      errors.push_back(written.error());
  }
  std::error_code error;
  std::vector<fs::path> others;
  for (fs::directory_iterator it(config_.agent_dir(), error); !error && it != fs::directory_iterator();
       it.increment(error)) {
    const std::string id = it->path().stem().string();
    if (is_attachment_id(id) && !known.contains(id)) others.push_back(it->path());
  }
  for (const fs::path& file : others) {
    if (remove_file(file)) written_.erase(file.stem().string());
  }
  return errors;
}

}  // namespace vmlane::agent
