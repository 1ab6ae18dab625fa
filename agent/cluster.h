// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "agent/object_files.h"
#include "multus-adapter/objects.h"

namespace vmlane::agent {

// Objects by "Kind ns/name"; more than one where several files have it.
using ObjectSet = std::map<std::string, std::vector<ObjectPointer>>;

// What the files say, sorted out for the two who ask: policy, which gets every object as it stands, and this
// node's attachments. An object that cannot be read for the latter is a problem and stops nothing else.
struct Cluster {
  ObjectSet objects;
  std::map<std::string, multus::Pod> pods;  // of this node, by "ns/name"
  std::vector<Error> problems;              // of pods and NetworkAttachmentDefinitions

  // The pod that CNI_ARGS speak of, nullptr when it is not known. A pod whose object gives another uid is not
  // that pod; an empty uid is anybody's.
  const multus::Pod* find_pod(const std::string& ns, const std::string& name, const std::string& uid) const;
  // The object that counts, nullptr when there is none.
  const FileObject* find(const std::string& key) const;
};

// The key of an object in an ObjectSet; empty for one without kind or name.
std::string object_key(const FileObject& object);

// A pod is this node's when it is bound to it, or to none: objects in files often leave that out.
Cluster read_cluster(const ObjectFiles& files, const std::string& node);

}  // namespace vmlane::agent
