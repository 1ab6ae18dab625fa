// SPDX-License-Identifier: Apache-2.0
#include "agent/object_files.h"

#include <algorithm>

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

Result<std::vector<ObjectPointer>> read_objects(const fs::path& file) {
  std::vector<ObjectPointer> objects;
  VMLANE_TRY(visit_manifest_file(file, [&](const Json& object, const std::string& place) {
    objects.push_back(std::make_shared<const FileObject>(object, place));
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
    files.directories_.push_back({std::move(watch), {}});
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
  next_ = now + kLookAgain;
  for (Directory& directory : directories_) {
    directory.watch.drain();  // before looking: what happens meanwhile is another event
    directory.watch.follow_name();
    update_directory(directory, now, changed);
  }
  return changed;
}

void ObjectFiles::update_directory(Directory& directory, Clock::time_point now, bool& changed) {
  const std::string path = directory.watch.directory().string();
  auto present = list_files(directory.watch.directory(), is_manifest_file);
  if (!present) {
    present.error().details = "the objects that were in it stay in force";
    return report(path, present.error(), changed);
  }
  forget(path, changed);
  for (const auto& [name, identity] : *present) {
    const auto known = directory.files.find(name);
    if (known == directory.files.end() || known->second.identity != identity || known->second.unsettled)
      read_file(directory, name, identity, now, changed);
    else
      known->second.gone = Clock::time_point::max();
  }
  let_go(directory, *present, now, changed);
}

void ObjectFiles::read_file(Directory& directory, const std::string& name, const FileIdentity& identity,
                            Clock::time_point now, bool& changed) {
  const fs::path path = directory.watch.directory() / name;
  File& file = directory.files[name];
  file.gone = Clock::time_point::max();
  if (is_being_written(path)) return await_writer(path.string(), file, now, changed);
  file.written = Clock::time_point::max();
  file.identity = identity;  // also of a broken one: it is read again when it changes
  file.unsettled = is_recent(identity);
  if (file.unsettled) wake_at(Clock::now() + kSettle);
  auto objects = read_objects(path);
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

// Objects that say the same stay the same pointers.
void ObjectFiles::take(File& file, std::vector<ObjectPointer> objects, bool& changed) {
  const bool same = std::ranges::equal(objects, file.objects, [](const auto& a, const auto& b) {
    return a->place == b->place && a->json == b->json;
  });
  if (same) return;
  file.objects = std::move(objects);
  changed = true;
}

void ObjectFiles::let_go(Directory& directory, const FileList& present, Clock::time_point now,
                         bool& changed) {
  for (auto it = directory.files.begin(); it != directory.files.end();) {
    auto& [name, file] = *it;
    if (present.contains(name)) {
      ++it;
      continue;
    }
    if (file.gone == Clock::time_point::max()) file.gone = now;
    if (now - file.gone < kGrace) {
      wake_at(file.gone + kGrace);
      ++it;
      continue;
    }
    forget((directory.watch.directory() / name).string(), changed);
    changed = changed || !file.objects.empty();
    it = directory.files.erase(it);
  }
}

void ObjectFiles::report(const std::string& path, Error problem, bool& changed) {
  const auto known = problems_.find(path);
  if (known != problems_.end() && known->second.text() == problem.text()) return;
  problems_[path] = std::move(problem);
  changed = true;
}

void ObjectFiles::read_again() {
  for (Directory& directory : directories_) {
    for (auto& [name, file] : directory.files) file.identity = {};
  }
}

void ObjectFiles::visit(const std::function<void(const ObjectPointer&)>& visitor) const {
  for (const Directory& directory : directories_) {
    for (const auto& [name, file] : directory.files) std::ranges::for_each(file.objects, visitor);
  }
}

std::size_t ObjectFiles::file_count() const {
  std::size_t count = 0;
  for (const Directory& directory : directories_) count += directory.files.size();
  return count;
}

}  // namespace vmlane::agent
