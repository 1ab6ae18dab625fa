// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/network_status.h"
#include "agent/object_source.h"
#include "kubernetes/client_config.h"
#include "kubernetes/http_client.h"
#include "kubernetes/watch.h"

namespace vmlane::agent {

// The objects of a cluster, by its API server (kubernetes/watch.h says what it keeps when the server is
// away). Of pods on other nodes only what policy asks for is kept; there may be many. Pods of this node get
// their network-status annotation.
class ApiObjects : public ObjectSource {
 public:
  static Result<std::unique_ptr<ApiObjects>> open(kubernetes::ClientConfig config, std::string node,
                                                  const std::filesystem::path& network_status_dir);

  std::vector<int> fds() const override { return {client_.fd(), network_status_->fd()}; }
  Clock::time_point next() const override;
  bool update(Clock::time_point now) override;
  // Everything is known already: a watch misses nothing.
  void read_again() override {}
  bool complete() const override;
  ObjectChanges take_changes() override { return settled(std::exchange(changes_, {})); }
  // While the server is away, or tells of pods anew, it may know of others.
  std::optional<Error> pods_in_doubt() const override;
  std::map<std::string, Error> problems() const override;
  Json status() const override;

 private:
  struct Watched {
    std::unique_ptr<kubernetes::Watch> watch;
    std::unordered_map<std::string, ObjectPointer> objects;  // by key
    std::string problem;
  };
  ApiObjects(kubernetes::HttpClient client, std::string node);
  bool take(Watched& watched, kubernetes::Watch::Changes changes);

  std::string node_;
  kubernetes::HttpClient client_;
  std::vector<Watched> watched_;
  std::unique_ptr<NetworkStatus> network_status_;
  std::string network_status_problem_;
  ObjectChanges changes_;
};

}  // namespace vmlane::agent
