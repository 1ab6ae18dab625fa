// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>

#include "agent/directory_watch.h"
#include "core/error.h"
#include "core/node_config.h"
#include "core/record.h"

namespace vmlane::agent {

// The node's attachments, as the plugins' records in `<stateDir>/attachments` tell them (contracts.md 2.1),
// kept up with the directory. A record that is cut counts as it was before; files that are none of ours are
// left alone; both are problems. The directory is the plugins': it may not be there yet, and nothing is ever
// written there.
class AttachmentFiles {
 public:
  static Result<AttachmentFiles> open(const NodeConfig& config);

  int fd() const { return watch_.fd(); }
  // Reads what changed: the ids of records that are others now, are gone, or can no longer be read, and names
  // of files that are no records.
  std::set<std::string> update();
  // Makes the next update() read every record.
  void read_again() { read_again_ = true; }

  const std::map<std::string, AttachmentRecord>& records() const { return records_; }  // by attachment id
  const std::map<std::string, Error>& problems() const { return problems_; }           // by file name

 private:
  AttachmentFiles(DirectoryWatch watch, RecordStore store)
      : watch_(std::move(watch)), store_(std::move(store)) {}
  void look_at(const std::string& name, std::set<std::string>& changed);
  void read(const std::string& name, std::set<std::string>& changed);

  DirectoryWatch watch_;
  RecordStore store_;
  FileList files_;
  std::map<std::string, AttachmentRecord> records_;
  std::map<std::string, Error> problems_;
  bool read_again_ = false;
};

}  // namespace vmlane::agent
