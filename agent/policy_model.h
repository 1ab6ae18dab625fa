// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "agent/cluster.h"
#include "policy/explain.h"
#include "policy/simulate.h"
#include "policy/store.h"

namespace vmlane::agent {

// An object of that key as policy takes it: without a namespace it is in "default", which it does not say
// itself.
policy::Change change_of(const std::string& key, const FileObject& object);

// The policy of a set of objects, which changes from one set to the next by what differs.
class PolicyModel {
 public:
  // Whether anything differs.
  bool update(const ObjectSet& objects);
  // The tables of the last update(); asked for once after each.
  policy::Publication publish() { return store_.publish(); }

  const policy::Store& store() const { return store_; }
  // The objects as types, read anew.
  policy::Objects objects() const;
  // The verdict by the published tables, and why.
  Result<policy::Explanation> explain(const policy::Probe& probe) const;
  // What probes would get with `candidates` among the objects. An object that is given twice is left out.
  Result<policy::Simulation> simulate(const std::vector<policy::Change>& candidates,
                                      const std::vector<policy::Probe>& probes) const;
  // The names of the policies behind their numbers; empty for a number that is not used.
  std::vector<policy::PolicyName> policy_names() const;

 private:
  void remove(const std::string& key, const std::vector<ObjectPointer>& same);
  void put(const std::vector<ObjectPointer>& same);

  ObjectSet objects_;
  policy::Store store_;
};

}  // namespace vmlane::agent
