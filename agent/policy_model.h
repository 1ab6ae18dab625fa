// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "agent/cluster.h"
#include "policy/explain.h"
#include "policy/simulate.h"
#include "policy/store.h"

namespace vmlane::agent {

// An object of a file as policy takes it: without a namespace it is in "default", which it does not say
// itself.
policy::Change change_of(const ClusterObject& object);

// Everything that there is, read from the files' objects: for the rare questions that need it whole.
policy::Objects read_objects(const ObjectSet& objects);

// The policy of the objects, which changes by what changes in them.
class PolicyModel {
 public:
  // What is known by that key from now on; nothing when the object has gone.
  void put(const std::string& key, const std::vector<ObjectPointer>& same);
  // The difference of the tables to those of the last call.
  policy::Publication publish() { return store_.publish(); }

  const policy::Store& store() const { return store_; }
  // The verdict by the published tables, and why. `objects` are those that have been put.
  Result<policy::Explanation> explain(const ObjectSet& objects, const policy::Probe& probe) const;

 private:
  void remove(const std::string& key, std::size_t count);

  policy::Store store_;
  std::map<std::string, std::size_t> several_;  // how many there are, of objects that are given twice
};

// What probes would get with `candidates` among the objects. An object that is given twice is left out.
Result<policy::Simulation> simulate(const ObjectSet& objects, const std::vector<policy::Change>& candidates,
                                    const std::vector<policy::Probe>& probes);

}  // namespace vmlane::agent
