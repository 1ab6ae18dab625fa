// SPDX-License-Identifier: Apache-2.0
#include "agent/network_status.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "core/files.h"
#include "multus-adapter/network_selection.h"

namespace vmlane::agent {

namespace {

Json told_by(const Json& pod) {
  const Json* metadata = pod.contains("metadata") ? &pod["metadata"] : nullptr;
  if (metadata == nullptr || !metadata->is_object() || !metadata->contains("annotations")) return nullptr;
  return Json::parse(text_at((*metadata)["annotations"], multus::kNetworkStatusAnnotation), nullptr, false);
}

}  // namespace

Result<std::unique_ptr<NetworkStatus>> NetworkStatus::open(const std::filesystem::path& directory,
                                                           kubernetes::HttpClient& client) {
  VMLANE_ASSIGN(DirectoryWatch watch, DirectoryWatch::open(directory));
  return std::unique_ptr<NetworkStatus>(new NetworkStatus(std::move(watch), client));
}

NetworkStatus::Clock::time_point NetworkStatus::next() const {
  auto next = due_.empty() ? Clock::time_point::max() : Clock::time_point::min();
  for (const auto& [uid, retry] : retries_) next = std::min(next, retry.when);
  return next;
}

void NetworkStatus::see(const std::string& key, const Json& pod) {
  const std::string uid = pod.contains("metadata") ? text_at(pod["metadata"], "uid") : std::string();
  if (uids_.contains(key) && uids_[key] != uid) forget(key);
  if (uid.empty()) return;
  uids_[key] = uid;
  Pod& known = pods_[uid];
  known.key = key;
  known.uid = uid;
  known.told = told_by(pod);
  due_.insert(uid);
}

void NetworkStatus::forget(const std::string& key) {
  const auto found = uids_.find(key);
  if (found == uids_.end()) return;
  pods_.erase(found->second);
  due_.erase(found->second);
  retries_.erase(found->second);
  uids_.erase(found);
}

void NetworkStatus::run(Clock::time_point now) {
  const DirectoryEvents events = watch_.drain();
  if (events.everything) {
    for (const auto& [uid, pod] : pods_) due_.insert(uid);
  }
  for (const std::filesystem::path name : events.names) {
    if (name.extension() == ".json") due_.insert(name.stem().string());
  }
  for (const auto& [uid, retry] : retries_) {
    if (retry.when <= now) due_.insert(uid);
  }
  for (const std::string& uid : std::exchange(due_, {})) look_at(uid);
}

void NetworkStatus::look_at(const std::string& uid) {
  const auto found = pods_.find(uid);
  if (found == pods_.end() || found->second.under_way) return;
  const std::filesystem::path file = watch_.directory() / (uid + ".json");
  const auto text = read_file(file);
  if (!text) return failed(uid, text.error());
  if (!*text) return void(retries_.erase(uid));
  auto status = parse_json(**text, file.string());
  if (!status) return failed(uid, status.error());
  if (*status == found->second.told) return void(retries_.erase(uid));
  write(found->second, std::move(*status));
}

void NetworkStatus::write(Pod& pod, Json status) {
  constexpr int kIndent = 4;  // as people are used to see it
  pod.under_way = true;
  const auto slash = pod.key.find('/');
  const std::string annotation(multus::kNetworkStatusAnnotation);
  // With the uid it is refused for another pod of that name.
  const Json patch = {
      {"metadata", {{"uid", pod.uid}, {"annotations", {{annotation, status.dump(kIndent)}}}}}};
  client_.start(
      {.method = "PATCH",
       .target = "/api/v1/namespaces/" + pod.key.substr(0, slash) + "/pods/" + pod.key.substr(slash + 1) +
                 "/status",
       .body = to_text(patch),
       .content_type = "application/merge-patch+json",
       .time_limit = kTimeLimit},
      [](std::string_view) { return true; },
      [this, uid = pod.uid, status = std::move(status)](const kubernetes::HttpEnd& end) {
        ended(uid, status, end);
      });
}

void NetworkStatus::ended(const std::string& uid, const Json& status, const kubernetes::HttpEnd& end) {
  constexpr int kNotFound = 404;
  constexpr int kConflict = 409;
  const auto found = pods_.find(uid);
  if (found == pods_.end()) return;
  found->second.under_way = false;
  if (end.ok()) {
    found->second.told = status;
    retries_.erase(uid);
    due_.insert(uid);  // the file may say something else by now
  } else if (end.status == kNotFound || end.status == kConflict) {
    retries_.erase(uid);  // the watch is about to tell that it is gone, or another
  } else {
    failed(uid, end.problem->wrap("cannot write the network status of pod " + found->second.key));
  }
}

void NetworkStatus::failed(const std::string& uid, Error problem) {
  const auto before = retries_.find(uid);
  const auto wait = before == retries_.end() ? kFirstWait : std::min(2 * before->second.wait, kLongestWait);
  retries_.insert_or_assign(uid, Retry{Clock::now() + wait, wait, std::move(problem)});
}

std::optional<Error> NetworkStatus::problem() const {
  if (retries_.empty()) return std::nullopt;
  return retries_.begin()->second.problem;
}

}  // namespace vmlane::agent
