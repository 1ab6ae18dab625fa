// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/cluster_object.h"
#include "core/error.h"
#include "core/json.h"

namespace vmlane::agent {

// Where Kubernetes objects come from: files (object_files.h), or the API server (api_objects.h). It is asked
// from the agent's loop, and nothing here waits.
class ObjectSource {
 public:
  using Clock = std::chrono::steady_clock;

  virtual ~ObjectSource() = default;

  // Readable when update() has something to do.
  virtual std::vector<int> fds() const = 0;
  // When to call update() though no descriptor says so.
  virtual Clock::time_point next() const = 0;
  // Takes in what there is to take in; whether objects or problems are others now.
  virtual bool update(Clock::time_point now) = 0;
  // Makes update() read everything again.
  virtual void read_again() = 0;
  // Whether all objects are known, as of some moment. What is published before would open or close wrongly.
  virtual bool complete() const = 0;
  // What changed since the last call, settled.
  virtual ObjectChanges take_changes() = 0;
  // Why a pod that is not among the objects may be there all the same; no value when all pods are known.
  virtual std::optional<Error> pods_in_doubt() const = 0;
  // What could not be read, by its place.
  virtual std::map<std::string, Error> problems() const = 0;
  // For `vmlanectl agent status`.
  virtual Json status() const = 0;
};

}  // namespace vmlane::agent
