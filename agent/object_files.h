// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "agent/directory_watch.h"
#include "agent/object_source.h"
#include "core/error.h"
#include "core/json.h"

namespace vmlane::agent {

// The Kubernetes objects in the *.yaml, *.yml and *.json files of directories, kept up with what happens to
// the files; a change costs what the changed file has in it. A file that cannot be read, is no YAML or JSON,
// or is still being written counts with what it had before, and is a problem; so does a directory that is
// gone. A file that vanishes takes its objects along after `kGrace`: editors and `kubectl apply`-like tools
// remove a file to put another in its place, and what a policy denied must not pass in between.
class ObjectFiles : public ObjectSource {
 public:
  static constexpr std::chrono::milliseconds kGrace{250};

  // Code::kInvalidConfig naming a path that is no directory. Nothing is read before update().
  static Result<ObjectFiles> open(const std::vector<std::filesystem::path>& directories);

  std::vector<int> fds() const override;
  Clock::time_point next() const override { return next_; }
  bool update(Clock::time_point now) override;
  void read_again() override;
  bool complete() const override { return true; }
  ObjectChanges take_changes() override { return settled(std::exchange(changes_, {})); }
  // A file that cannot be read may have had any pod.
  std::optional<Error> pods_in_doubt() const override {
    return problems_.empty() ? std::nullopt : std::optional(problems_.begin()->second);
  }
  // By file, or directory.
  std::map<std::string, Error> problems() const override { return problems_; }
  Json status() const override;

  // In the order of directories, names of files, and places in them.
  void visit(const std::function<void(const ObjectPointer&)>& visitor) const;

 private:
  struct File {
    FileIdentity identity;
    bool unsettled = false;  // changed so recently that another change need not show in its times
    std::vector<ObjectPointer> objects;
    Clock::time_point gone = Clock::time_point::max();     // since when it is
    Clock::time_point written = Clock::time_point::max();  // since when somebody has it open for that

    bool waits() const {
      return unsettled || gone != Clock::time_point::max() || written != Clock::time_point::max();
    }
  };
  struct Directory {
    std::size_t number = 0;
    DirectoryWatch watch;
    std::map<std::string, File> files;
    std::set<std::string> waiting;  // files that want another look soon
    std::set<std::string> linked;   // that may change without an event
    bool read_again = false;
  };

  // The files that have to be looked at; an error when the directory cannot be read.
  static Result<std::set<std::string>> files_to_look_at(Directory& directory, bool by_timer);
  void look_at(Directory& directory, const std::string& name, Clock::time_point now, bool& changed);
  void read_file(Directory& directory, const std::string& name, const FileIdentity& identity,
                 Clock::time_point now, bool& changed);
  void await_writer(const std::string& path, File& file, Clock::time_point now, bool& changed);
  void take(File& file, std::vector<ObjectPointer> objects, bool& changed);
  void let_go(Directory& directory, const std::string& name, Clock::time_point now, bool& changed);
  void report(const std::string& path, Error problem, bool& changed);
  void forget(const std::string& path, bool& changed) { changed = problems_.erase(path) > 0 || changed; }
  void wake_at(Clock::time_point when) { next_ = std::min(next_, when); }

  std::vector<Directory> directories_;
  std::map<std::string, Error> problems_;
  ObjectChanges changes_;
  Clock::time_point look_again_;
  Clock::time_point next_ = Clock::time_point::max();
};

}  // namespace vmlane::agent
