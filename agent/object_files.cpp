// SPDX-License-Identifier: Apache-2.0
#include "agent/object_files.h"

#include <algorithm>
#include <unordered_map>

#include "core/files.h"
#include "manifests/documents.h"

namespace vmlane::agent {

namespace fs = std::filesystem;

namespace {

// The target of a link in a directory may change with no event there, as may what a writer left open.
constexpr std::chrono::seconds kLookAgain{2};

// Some kernels tell the time of a change in ticks of up to 10 ms. Within one, a file that is written twice in
// place, to the same length, looks the same as after the first time.
constexpr std::chrono::milliseconds kSettle{50};

bool is_recent(const FileIdentity& identity) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto age = std::chrono::duration_cast<std::chrono::nanoseconds>(now).count() - identity.changed;
  return std::chrono::abs(std::chrono::nanoseconds(age)) < kSettle;
}

Result<std::vector<ObjectPointer>> read_objects(const fs::path& file, std::size_t directory) {
  std::vector<ObjectPointer> objects;
  VMLANE_TRY(visit_manifest_file(file, [&](const Json& object, const std::string& place) {
    if (is_of_interest(object))
      objects.push_back(cluster_object(object, place, {directory, file.filename().string(), objects.size()}));
    return Result<>();
  }));
  return objects;
}

}  // namespace

Result<ObjectFiles> ObjectFiles::open(const std::vector<fs::path>& directories) {
  ObjectFiles files;
  for (const fs::path& path : directories) {
    std::error_code error;
    if (!fs::is_directory(path, error))
      return fail(Code::kInvalidConfig, "--objects: " + path.string() + " is no directory");
    VMLANE_ASSIGN(DirectoryWatch watch, DirectoryWatch::open(path));
    files.directories_.push_back({.number = files.directories_.size(),
                                  .watch = std::move(watch),
                                  .files = {},
                                  .waiting = {},
                                  .linked = {},
                                  .read_again = false});
  }
  return files;
}

std::vector<int> ObjectFiles::fds() const {
  std::vector<int> fds;
  for (const Directory& directory : directories_) fds.push_back(directory.watch.fd());
  return fds;
}

bool ObjectFiles::update(Clock::time_point now) {
  bool changed = false;
  const bool by_timer = now >= look_again_;
  if (by_timer) look_again_ = now + kLookAgain;
  next_ = look_again_;
  for (Directory& directory : directories_) {
    const std::string path = directory.watch.directory().string();
    const auto names = files_to_look_at(directory, by_timer);
    if (!names) {
      Error error = names.error();
      error.details = "the objects that were in it stay in force";
      report(path, std::move(error), changed);
      continue;
    }
    forget(path, changed);
    for (const std::string& name : *names) look_at(directory, name, now, changed);
  }
  return changed;
}

Result<std::set<std::string>> ObjectFiles::files_to_look_at(Directory& directory, bool by_timer) {
  const DirectoryEvents events = directory.watch.drain();  // before looking: what happens meanwhile is new
  const fs::path& path = directory.watch.directory();
  std::set<std::string> names = directory.waiting;
  if (events.everything || directory.read_again || !directory.watch.watching()) {
    VMLANE_ASSIGN(const FileList present, list_files(path, is_manifest_file));
    for (const auto& [name, identity] : present) names.insert(name);
    for (const auto& [name, file] : directory.files) names.insert(name);
    directory.read_again = false;
    return names;
  }
  bool others = false;  // a link of a ConfigMap, say, through which files are reached
  for (const std::string& name : events.names) {
    if (is_manifest_file(name)) {
      names.insert(name);
    } else {
      others = true;
    }
  }
  if (by_timer || others) names.insert(directory.linked.begin(), directory.linked.end());
  return names;
}

void ObjectFiles::look_at(Directory& directory, const std::string& name, Clock::time_point now,
                          bool& changed) {
  const auto identity = identify(directory.watch.directory() / name);
  if (!identity) return let_go(directory, name, now, changed);
  File& file = directory.files[name];
  file.gone = Clock::time_point::max();
  if (file.identity != *identity || file.unsettled)
    read_file(directory, name, *identity, now, changed);
  else
    file.written = Clock::time_point::max();
  const auto note = [&name](std::set<std::string>& names, bool is_one) {
    if (is_one)
      names.insert(name);
    else
      names.erase(name);
  };
  note(directory.waiting, file.waits());
  note(directory.linked, identity->linked);
}

void ObjectFiles::read_file(Directory& directory, const std::string& name, const FileIdentity& identity,
                            Clock::time_point now, bool& changed) {
  const fs::path path = directory.watch.directory() / name;
  File& file = directory.files[name];
  if (is_being_written(path)) return await_writer(path.string(), file, now, changed);
  file.written = Clock::time_point::max();
  file.identity = identity;  // also of a broken one: it is read again when it changes
  file.unsettled = is_recent(identity);
  if (file.unsettled) wake_at(Clock::now() + kSettle);
  auto objects = read_objects(path, directory.number);
  if (!objects) {
    objects.error().details +=
        std::string(objects.error().details.empty() ? "" : "; ") + "the file counts as it was before";
    return report(path.string(), objects.error(), changed);
  }
  forget(path.string(), changed);
  take(file, std::move(*objects), changed);
}

// Every file is open for a moment when it is made; it is worth telling when that goes on.
void ObjectFiles::await_writer(const std::string& path, File& file, Clock::time_point now, bool& changed) {
  constexpr std::chrono::seconds kPatience{1};
  if (file.written == Clock::time_point::max()) file.written = now;
  if (now - file.written < kPatience) return wake_at(file.written + kPatience);
  report(path,
         {Code::kTryAgain, path + " is open for writing",
          "it counts as it was before; it is read when its writer closes it", nullptr},
         changed);
}

// Objects that say the same in the same place stay the same pointers.
void ObjectFiles::take(File& file, std::vector<ObjectPointer> objects, bool& changed) {
  std::unordered_multimap<std::string_view, ObjectPointer> before;
  for (const ObjectPointer& object : file.objects) before.emplace(object->text, object);
  for (ObjectPointer& object : objects) {
    const auto [first, last] = before.equal_range(object->text);
    const auto same =
        std::find_if(first, last, [&](const auto& known) { return known.second->place == object->place; });
    if (same == last) {
      changes_.come.push_back(object);
      changed = true;
    } else {
      const auto known = before.extract(same);
      object = known.mapped();
    }
  }
  for (auto& [text, object] : before) {
    changes_.gone.push_back(object);
    changed = true;
  }
  file.objects = std::move(objects);
}

void ObjectFiles::let_go(Directory& directory, const std::string& name, Clock::time_point now,
                         bool& changed) {
  const auto found = directory.files.find(name);
  if (found == directory.files.end()) return;
  File& file = found->second;
  if (file.gone == Clock::time_point::max()) file.gone = now;
  directory.waiting.insert(name);
  if (now - file.gone < kGrace) return wake_at(file.gone + kGrace);
  forget((directory.watch.directory() / name).string(), changed);
  take(file, {}, changed);
  directory.files.erase(found);
  directory.waiting.erase(name);
  directory.linked.erase(name);
}

void ObjectFiles::report(const std::string& path, Error problem, bool& changed) {
  const auto known = problems_.find(path);
  if (known != problems_.end() && known->second.text() == problem.text()) return;
  problems_[path] = std::move(problem);
  changed = true;
}

void ObjectFiles::read_again() {
  for (Directory& directory : directories_) {
    directory.read_again = true;
    for (auto& [name, file] : directory.files) file.identity = {};
  }
}

void ObjectFiles::visit(const std::function<void(const ObjectPointer&)>& visitor) const {
  for (const Directory& directory : directories_) {
    for (const auto& [name, file] : directory.files) std::ranges::for_each(file.objects, visitor);
  }
}

Json ObjectFiles::status() const {
  std::size_t files = 0;
  for (const Directory& directory : directories_) files += directory.files.size();
  return {{"files", files}};
}

}  // namespace vmlane::agent
