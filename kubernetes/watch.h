// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/error.h"
#include "kubernetes/answer.h"
#include "kubernetes/http_client.h"
#include "kubernetes/resource.h"

namespace vmlane::kubernetes {

// All objects of one resource as the API server has them, kept up for as long as the program runs: a list in
// pages, then a watch from there on, again where it ended, and the list anew where the server no longer knows
// the way from there (410). What is known stays known while the server is away, answers with errors or
// refuses (they are told by problem()), and a list counts only when all its pages are there. A server without
// the resource has no objects of it, which is no problem. But a server that starts does not know of its
// custom resources yet, so it counts only from one that calls itself ready, and when it had objects before,
// only once it has said so for kAbsence.
class Watch {
 public:
  using Clock = HttpClient::Clock;
  struct Changes {
    std::vector<Object> put;
    std::vector<std::string> gone;  // keys
  };
  enum class State { kListing, kWatching, kAbsent, kWaiting };

  static constexpr std::size_t kPageObjects = 500;
  static constexpr std::size_t kMaxPage = std::size_t{256} << 20;  // bytes
  static constexpr std::size_t kMaxEvent = std::size_t{16} << 20;  // bytes; etcd takes 1.5 MiB
  static constexpr std::chrono::seconds kWatchTime{300};           // that the server is asked for
  static constexpr std::chrono::seconds kLookAgain{30};            // for a resource that is absent
  static constexpr std::chrono::seconds kAbsence{60};
  static constexpr std::chrono::milliseconds kFirstWait{250};  // doubles up to
  static constexpr std::chrono::milliseconds kLongestWait{30000};
  // For a server that cannot be reached: asking costs it nothing, and what it knows is wanted when it is
  // back.
  static constexpr std::chrono::milliseconds kLongestUnreached{8000};

  // `client` outlives the watch, which stays where it is.
  Watch(HttpClient& client, Resource resource, unsigned seed);
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  ~Watch();

  // Starts what is due at `now`.
  void run(Clock::time_point now);
  // For a watch whose server could not be reached, when another one has reached it: run() is due in a moment.
  void hurry(Clock::time_point now);
  // How often the server has begun to answer.
  std::uint64_t answers() const { return answers_; }
  // When to call run() again, though no answer of the server asks for it.
  Clock::time_point next() const { return due_; }

  // What is different since the last call.
  Changes take_changes() { return std::exchange(changes_, {}); }
  // Whether the whole of it has been known once; true for an absent resource too.
  bool synced() const { return synced_; }
  State state() const { return state_; }
  const std::optional<Error>& problem() const { return problem_; }
  const Resource& resource() const { return resource_; }
  const std::string& api_version() const { return resource_.versions[version_]; }
  std::size_t size() const { return known_.size(); }

 private:
  std::string path() const;
  void list(Clock::time_point now);
  void watch(Clock::time_point now);
  bool take_chunk(std::string_view chunk, std::size_t max);
  bool take_lines();
  void take_event(const WatchEvent& event);
  void list_ended(const HttpEnd& end);
  void watch_ended(const HttpEnd& end);
  void take_list();
  void list_again();
  void not_found();
  void absence_confirmed(const HttpEnd& ready);
  void answered();
  void failed(Error problem, std::chrono::seconds retry_after);
  void start(std::string target, std::chrono::seconds limit, HttpClient::OnData on_data,
             void (Watch::*on_end)(const HttpEnd&));

  HttpClient& client_;
  Resource resource_;
  std::size_t version_ = 0;  // in resource_.versions
  std::minstd_rand random_;

  State state_ = State::kWaiting;
  bool synced_ = false;
  std::optional<Error> problem_;
  Clock::time_point due_ = Clock::time_point::min();
  unsigned failures_ = 0;   // in a row
  bool unreached_ = false;  // the last of them without an answer
  std::uint64_t answers_ = 0;

  std::optional<HttpClient::Id> request_;
  Clock::time_point started_;
  std::string received_;      // of a page, or of an event's line
  std::optional<Error> cut_;  // why this end cut the request
  bool in_pages_ = true;      // false after a page's continuation was too old: then the list in one piece
  std::string continuation_;
  std::vector<Object> listed_;  // the pages so far
  std::string from_;            // resourceVersion that a watch goes on from; empty: list first
  bool expired_ = false;        // the watch said that `from_` is too old
  std::optional<Clock::time_point> absent_since_;

  std::unordered_map<std::string, std::string> known_;  // key to resourceVersion
  Changes changes_;
};

}  // namespace vmlane::kubernetes
