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
#include "core/error.h"
#include "core/json.h"

namespace vmlane::agent {

// An object as a file has it. There may be many, so it is kept as text.
struct FileObject {
  // Where an object stands among all: which of two of the same name comes first.
  struct Order {
    std::size_t directory = 0;
    std::string file;
    std::size_t index = 0;
    auto operator<=>(const Order&) const = default;
  };
  std::string key;    // "Kind ns/name" or "Kind name"; "Kind" or "" for one without a name or kind
  std::string text;   // JSON, without what only the API server reads
  std::string place;  // "nads.yaml, document 2 (line 14)"
  Order order;

  Json json() const { return Json::parse(text, nullptr, false); }
};
// The same object is the same pointer for as long as it stands in its place of its file.
using ObjectPointer = std::shared_ptr<const FileObject>;

ObjectPointer file_object(Json object, std::string place, FileObject::Order order = {});
// "Kind ns/name"; empty for an object without kind or name.
std::string object_key(const Json& object);
// Whether anybody here reads objects of that kind; a directory may have others.
bool is_kind_of_interest(const std::string& kind);

// What differs between two states of the files. An object that changes has gone and come.
struct ObjectChanges {
  std::vector<ObjectPointer> gone;
  std::vector<ObjectPointer> come;
  bool empty() const { return gone.empty() && come.empty(); }
};

// The Kubernetes objects in the *.yaml, *.yml and *.json files of directories, kept up with what happens to
// the files; a change costs what the changed file has in it. A file that cannot be read, is no YAML or JSON,
// or is still being written counts with what it had before, and is a problem; so does a directory that is
// gone. A file that vanishes takes its objects along after `kGrace`: editors and `kubectl apply`-like tools
// remove a file to put another in its place, and what a policy denied must not pass in between.
class ObjectFiles {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kGrace{250};

  // Code::kInvalidConfig naming a path that is no directory. Nothing is read before update().
  static Result<ObjectFiles> open(const std::vector<std::filesystem::path>& directories);

  // Readable when update() has something to do.
  std::vector<int> fds() const;
  // Looks at what may have changed and reads what did; whether objects or problems are others now.
  bool update(Clock::time_point now);
  // Makes the next update() read every file.
  void read_again();
  // When to call update() again though no descriptor says so.
  Clock::time_point next() const { return next_; }

  // What changed since the last call.
  ObjectChanges take_changes() { return std::exchange(changes_, {}); }
  // In the order of directories, names of files, and places in them.
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
