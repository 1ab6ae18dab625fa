// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"

namespace vmlane::test {

// What the server does with a request instead of answering it.
struct ApiFault {
  enum class Kind {
    kStatus,   // answers with `status`, and `retry_after` when that is above 0
    kCut,      // ends the connection in the middle of the answer
    kGarbage,  // answers with what is no JSON
    kHuge,     // answers with 20 MiB of no JSON in one line
  };
  Kind kind = Kind::kStatus;
  int status = 500;
  int retry_after = 0;
  bool watches = false;  // of watches, else of lists
};

struct TlsFiles {
  std::string certificate;
  std::string key;
};

// An API server in the test's process, as far as a client that lists, watches and patches the status of pods
// sees one: lists in pages, watches with bookmarks, resource versions, 410 for what is too old, and faults to
// order. Speaks HTTP/1.1 on the loop-back device.
class ApiServer {
 public:
  // `resources`: paths of what it knows, as "/api/v1/pods". With `port` 0 the kernel chooses one.
  explicit ApiServer(std::vector<std::string> resources, std::optional<TlsFiles> tls = std::nullopt,
                     int port = 0);
  ApiServer(const ApiServer&) = delete;
  ApiServer& operator=(const ApiServer&) = delete;
  ~ApiServer();

  std::string url() const;
  int port() const;

  // Adds the resource, as a CustomResourceDefinition would; takes it away with its objects.
  void add_resource(const std::string& path);
  void remove_resource(const std::string& path);
  void put(const std::string& path, Json object);
  void remove(const std::string& path, const std::string& key);     // "ns/name"
  Json get(const std::string& path, const std::string& key) const;  // null when there is none
  // Nothing is told to watches about what happens until they are ended and what they knew is too old.
  void forget_history();
  void end_watches();
  void set_ready(bool ready);
  // The next `count` requests of that path.
  void fail(const std::string& path, const ApiFault& fault, int count = 1);
  void demand_token(const std::string& token);

  int lists(const std::string& path) const;  // how many requests there were
  int watches(const std::string& path) const;
  int patches() const;  // of pods by their status, which is all that can be changed

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vmlane::test
