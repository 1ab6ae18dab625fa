// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>

#include "agent/directory_watch.h"
#include "core/error.h"
#include "core/json.h"
#include "kubernetes/http_client.h"

namespace vmlane::agent {

// The network-status annotation of this node's pods (multi-network specification 1.3, section 5): what
// vmlane-multus leaves of an ADD in `<runDir>/network-status/<pod uid>.json` is written to the pod's object.
// Agents of other nodes learn from there which addresses the pod has on secondary networks. Its user needs
// `patch` on pods/status. What a file does not tell of is left alone: with another meta plugin there are
// none.
class NetworkStatus {
 public:
  using Clock = kubernetes::HttpClient::Clock;

  static constexpr std::chrono::seconds kFirstWait{1};  // after a refusal; doubles up to
  static constexpr std::chrono::seconds kLongestWait{60};
  static constexpr std::chrono::seconds kTimeLimit{30};  // of a request

  // `client` outlives this, which stays where it is.
  static Result<std::unique_ptr<NetworkStatus>> open(const std::filesystem::path& directory,
                                                     kubernetes::HttpClient& client);
  NetworkStatus(const NetworkStatus&) = delete;
  NetworkStatus& operator=(const NetworkStatus&) = delete;

  int fd() const { return watch_.fd(); }
  Clock::time_point next() const;
  // A pod of this node as the server has it, by "ns/name"; and one that it has no more, or is another node's.
  void see(const std::string& key, const Json& pod);
  void forget(const std::string& key);
  // Starts what is due.
  void run(Clock::time_point now);
  // Why a pod's status could not be written, or read; of the first of them.
  std::optional<Error> problem() const;

 private:
  struct Pod {
    std::string key;
    std::string uid;
    Json told;  // what its annotation says; null when it says nothing that can be read
    bool under_way = false;
  };
  struct Retry {
    Clock::time_point when;
    std::chrono::seconds wait;
    Error problem;
  };
  NetworkStatus(DirectoryWatch watch, kubernetes::HttpClient& client)
      : watch_(std::move(watch)), client_(client) {}
  void look_at(const std::string& uid);
  void write(Pod& pod, Json status);
  void ended(const std::string& uid, const Json& status, const kubernetes::HttpEnd& end);
  void failed(const std::string& uid, Error problem);

  DirectoryWatch watch_;
  kubernetes::HttpClient& client_;
  std::unordered_map<std::string, Pod> pods_;          // by uid
  std::unordered_map<std::string, std::string> uids_;  // by key
  std::set<std::string> due_;                          // uids
  std::map<std::string, Retry> retries_;               // by uid
};

}  // namespace vmlane::agent
