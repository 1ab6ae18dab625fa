// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/directory_watch.h"
#include "core/error.h"
#include "core/json.h"

namespace vmlane::agent {

// An object as a file has it.
struct FileObject {
  Json json;
  std::string place;  // "nads.yaml, document 2 (line 14)"
};
// The same object is the same pointer for as long as its file does not change.
using ObjectPointer = std::shared_ptr<const FileObject>;

// The Kubernetes objects in the *.yaml, *.yml and *.json files of directories, kept up with what happens to
// the files. A file that cannot be read, is no YAML or JSON, or is still being written counts with what it
// had before, and is a problem; so does a directory that is gone. A file that vanishes takes its objects
// along after `kGrace`: editors and `kubectl apply`-like tools remove a file to put another in its place, and
// what a policy denied must not pass in between.
class ObjectFiles {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kGrace{250};

  // Code::kInvalidConfig naming a path that is no directory. Nothing is read before update().
  static Result<ObjectFiles> open(const std::vector<std::filesystem::path>& directories);

  // Readable when update() has something to do.
  std::vector<int> fds() const;
  // Looks at the directories again and reads what changed; whether objects or problems did.
  bool update(Clock::time_point now);
  // Makes the next update() read every file.
  void read_again();
  // When to call update() again though no descriptor says so; max() when never.
  Clock::time_point next() const { return next_; }

  void visit(const std::function<void(const ObjectPointer&)>& visitor) const;
  // By file, or directory.
  const std::map<std::string, Error>& problems() const { return problems_; }
  std::size_t file_count() const;

 private:
  struct File {
    FileIdentity identity;
    bool unsettled = false;  // changed so recently that another change need not show in its times
    std::vector<ObjectPointer> objects;
    Clock::time_point gone = Clock::time_point::max();     // since when it is
    Clock::time_point written = Clock::time_point::max();  // since when somebody has it open for that
  };
  struct Directory {
    DirectoryWatch watch;
    std::map<std::string, File> files;
  };

  void update_directory(Directory& directory, Clock::time_point now, bool& changed);
  void read_file(Directory& directory, const std::string& name, const FileIdentity& identity,
                 Clock::time_point now, bool& changed);
  void await_writer(const std::string& path, File& file, Clock::time_point now, bool& changed);
  void take(File& file, std::vector<ObjectPointer> objects, bool& changed);
  void let_go(Directory& directory, const FileList& present, Clock::time_point now, bool& changed);
  void report(const std::string& path, Error problem, bool& changed);
  void forget(const std::string& path, bool& changed) { changed = problems_.erase(path) > 0 || changed; }
  void wake_at(Clock::time_point when) { next_ = std::min(next_, when); }

  std::vector<Directory> directories_;
  std::map<std::string, Error> problems_;
  Clock::time_point next_ = Clock::time_point::max();
};

}  // namespace vmlane::agent
