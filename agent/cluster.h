// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "agent/cluster_object.h"
#include "multus-adapter/objects.h"

namespace vmlane::agent {

// Objects by key; more than one where several files have it, in their order.
using ObjectSet = std::map<std::string, std::vector<ObjectPointer>>;

// What the files say, sorted out for the two who ask: policy, which gets every object as it stands, and this
// node's attachments. An object that cannot be read for the latter is a problem and stops nothing else.
class Cluster {
 public:
  // A pod is this node's when it is bound to it, or to none: objects in files often leave that out.
  explicit Cluster(std::string node) : node_(std::move(node)) {}

  // Takes in what differs in the files; gives the keys under which other objects are now, or none.
  std::set<std::string> apply(const ObjectChanges& changes);

  const ObjectSet& objects() const { return objects_; }
  const std::map<std::string, multus::Pod>& pods() const { return pods_; }  // of this node, by "ns/name"
  std::vector<Error> problems() const;  // of pods and NetworkAttachmentDefinitions

  // The pod that CNI_ARGS speak of, nullptr when it is not known. A pod whose object gives another uid is not
  // that pod; an empty uid is anybody's.
  const multus::Pod* find_pod(const std::string& ns, const std::string& name, const std::string& uid) const;
  // The object that counts, nullptr when there is none.
  const ClusterObject* find(const std::string& key) const;

 private:
  void read(const std::string& key);

  std::string node_;
  ObjectSet objects_;
  std::map<std::string, multus::Pod> pods_;
  std::map<std::string, std::vector<Error>> problems_;  // by key
  std::map<ObjectPointer, Error> nameless_;
};

}  // namespace vmlane::agent
