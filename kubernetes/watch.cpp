// SPDX-License-Identifier: Apache-2.0
#include "kubernetes/watch.h"

#include <algorithm>

namespace vmlane::kubernetes {

using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr int kNotFound = 404;
constexpr int kGone = 410;

std::string percent_encoded(const std::string& text) {
  constexpr std::string_view kPlain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string encoded;
  for (const char byte : text) {
    if (kPlain.find(byte) != std::string_view::npos) {
      encoded += byte;
    } else {
      const auto value = static_cast<unsigned char>(byte);
      encoded += '%';
      encoded += kDigits[value >> 4U];
      encoded += kDigits[value & 0xfU];
    }
  }
  return encoded;
}

}  // namespace

Watch::Watch(HttpClient& client, Resource resource, unsigned seed)
    : client_(client), resource_(std::move(resource)), random_(seed) {}

Watch::~Watch() {
  if (request_) client_.cancel(*request_);
}

// "/api/v1/pods" or "/apis/networking.k8s.io/v1/networkpolicies".
std::string Watch::path() const {
  const bool core = api_version().find('/') == std::string::npos;
  return (core ? "/api/" : "/apis/") + api_version() + "/" + resource_.plural;
}

void Watch::run(Clock::time_point now) {
  if (request_ || now < due_) return;
  due_ = Clock::time_point::max();
  if (from_.empty())
    list(now);
  else
    watch(now);
}

void Watch::start(std::string target, seconds limit, HttpClient::OnData on_data,
                  void (Watch::*on_end)(const HttpEnd&)) {
  received_.clear();
  cut_.reset();
  request_ = client_.start(
      {.target = std::move(target), .time_limit = limit}, std::move(on_data),
      [this, on_end](const HttpEnd& end) {
        request_.reset();
        unreached_ = end.status == 0;
        (this->*on_end)(end);
      },
      [this] { answered(); });
}

void Watch::answered() {
  answers_++;
  // A list is good when it is whole, and a watch from its first byte on, which may be long in coming.
  if (state_ != State::kWatching) return;
  failures_ = 0;
  problem_.reset();
}

void Watch::hurry(Clock::time_point now) {
  if (request_ || !unreached_) return;
  unreached_ = false;
  failures_ = 0;
  const auto half = kFirstWait / 2;
  due_ =
      std::min<Clock::time_point>(due_, now + milliseconds(random_() % static_cast<unsigned>(half.count())));
}

void Watch::list(Clock::time_point now) {
  if (state_ != State::kAbsent) state_ = State::kListing;
  started_ = now;
  std::string target = path();
  if (in_pages_) target += "?limit=" + std::to_string(kPageObjects);
  if (!continuation_.empty()) target += "&continue=" + percent_encoded(continuation_);
  start(
      target, seconds(0), [this](std::string_view chunk) { return take_chunk(chunk, kMaxPage); },
      &Watch::list_ended);
}

bool Watch::take_chunk(std::string_view chunk, std::size_t max) {
  if (received_.size() + chunk.size() > max) {
    cut_ = Error{Code::kTryAgain,
                 "the API server sends more than " + std::to_string(max >> 20) + " MiB of " + resource_.kind +
                     " in one piece",
                 "", nullptr};
    return false;
  }
  received_ += chunk;
  return true;
}

void Watch::list_ended(const HttpEnd& end) {
  if (end.status == kNotFound) return not_found();
  if (end.status == kGone && !continuation_.empty()) {
    // Reading took longer than the server keeps what it was like then.
    in_pages_ = false;
    return list_again();
  }
  if (cut_ || end.problem) return failed(cut_ ? *cut_ : *end.problem, end.retry_after);
  auto page = decode_list(received_, resource_.kind, api_version());
  received_ = {};  // it may be long
  if (!page) return failed(page.error(), seconds(0));
  std::ranges::move(page->objects, std::back_inserter(listed_));
  continuation_ = page->continuation;
  due_ = Clock::time_point::min();
  if (!continuation_.empty()) return;
  from_ = page->version;
  take_list();
}

// The whole list is there: what differs from what was known.
void Watch::take_list() {
  std::unordered_map<std::string, std::string> now_known;
  now_known.reserve(listed_.size());
  for (Object& object : listed_) {
    const auto before = known_.find(object.key);
    const bool same = before != known_.end() && before->second == object.version;
    now_known.insert_or_assign(object.key, object.version);
    if (!same) changes_.put.push_back(std::move(object));
  }
  for (const auto& [key, version] : known_)
    if (!now_known.contains(key)) changes_.gone.push_back(key);
  known_ = std::move(now_known);
  listed_ = {};
  synced_ = true;
  failures_ = 0;
  absent_since_.reset();
  problem_.reset();
}

void Watch::list_again() {
  from_.clear();
  continuation_.clear();
  listed_.clear();
  due_ = Clock::time_point::min();
}

void Watch::watch(Clock::time_point now) {
  state_ = State::kWatching;
  started_ = now;
  expired_ = false;
  // Watches that began together should not end together.
  const auto time = kWatchTime + seconds(random_() % static_cast<unsigned>(kWatchTime.count()));
  start(
      path() + "?watch=1&allowWatchBookmarks=true&resourceVersion=" + percent_encoded(from_) +
          "&timeoutSeconds=" + std::to_string(time.count()),
      time + HttpClient::kSilenceLimit,
      [this](std::string_view chunk) { return take_chunk(chunk, kMaxEvent) && take_lines(); },
      &Watch::watch_ended);
}

bool Watch::take_lines() {
  std::size_t begin = 0;
  for (auto end = received_.find('\n'); end != std::string::npos; end = received_.find('\n', begin)) {
    const std::string_view line = std::string_view(received_).substr(begin, end - begin);
    begin = end + 1;
    if (line.find_first_not_of(" \r") == std::string_view::npos) continue;
    const auto event = decode_event(line, resource_.kind, api_version());
    if (!event) {
      cut_ = event.error();
      break;
    }
    take_event(*event);
  }
  received_.erase(0, begin);
  return !cut_ && !expired_;
}

void Watch::take_event(const WatchEvent& event) {
  switch (event.type) {
    case WatchEvent::Type::kError:
      if (event.status == kGone)
        expired_ = true;
      else
        cut_ = Error{Code::kTryAgain, "the watch of " + resource_.kind + " ended: " + event.message, "",
                     nullptr};
      return;
    case WatchEvent::Type::kBookmark:
      if (!event.object.version.empty()) from_ = event.object.version;
      return;
    case WatchEvent::Type::kPut:
      known_.insert_or_assign(event.object.key, event.object.version);
      changes_.put.push_back(event.object);
      break;
    case WatchEvent::Type::kGone:
      known_.erase(event.object.key);
      std::erase_if(changes_.put, [&](const Object& put) { return put.key == event.object.key; });
      changes_.gone.push_back(event.object.key);
      break;
  }
  from_ = event.object.version;
  failures_ = 0;
  problem_.reset();
}

void Watch::watch_ended(const HttpEnd& end) {
  if (expired_ || end.status == kGone) return list_again();
  if (end.status == kNotFound) return list_again();  // the resource went, or the server knows it not yet
  if (cut_) {
    // What could not be read is missing, so the list has to tell what there is.
    list_again();
    return failed(*cut_, seconds(0));
  }
  if (end.problem) return failed(*end.problem, end.retry_after);
  // A server that ends each watch at once must not be asked in a loop.
  const auto now = Clock::now();
  failures_ = 0;
  problem_.reset();
  due_ = std::max(now, started_ + kFirstWait);
}

void Watch::not_found() {
  list_again();
  // An older server may know the resource by another version.
  version_ = (version_ + 1) % resource_.versions.size();
  if (version_ != 0) return;
  due_ = Clock::time_point::max();
  start(
      "/readyz", HttpClient::kSilenceLimit, [](std::string_view) { return true; }, &Watch::absence_confirmed);
}

void Watch::absence_confirmed(const HttpEnd& ready) {
  const bool is_no_answer = ready.status == 0 || ready.status == 429 || ready.status >= 500;
  if (is_no_answer) return failed(*ready.problem, ready.retry_after);
  const auto now = Clock::now();
  if (!absent_since_) absent_since_ = now;
  if (!known_.empty() && now - *absent_since_ < kAbsence) {
    problem_ = Error{Code::kTryAgain, resource_.plural + ": the API server no longer knows them",
                     "they stay in force for a minute, in case another server has only started", nullptr};
    due_ = now + kFirstWait * 8;
    return;
  }
  take_list();  // of nothing
  state_ = State::kAbsent;
  due_ = now + kLookAgain;
}

void Watch::failed(Error problem, seconds retry_after) {
  state_ = State::kWaiting;
  problem.message.insert(0, resource_.plural + ": ");
  problem_ = std::move(problem);
  if (from_.empty()) list_again();
  const auto longest = std::min<milliseconds>(unreached_ ? kLongestUnreached : kLongestWait,
                                              kFirstWait * (1U << std::min(failures_, 7U)));
  ++failures_;
  // Between half of it and all of it, so that nodes that lost the server together do not come back together.
  const auto half = longest / 2;
  const milliseconds wait = half + milliseconds(random_() % static_cast<unsigned>(half.count() + 1));
  due_ = Clock::now() + std::max<milliseconds>(wait, retry_after);
}

}  // namespace vmlane::kubernetes
