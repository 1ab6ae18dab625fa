// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "agent/cluster.h"
#include "core/address.h"
#include "core/record.h"

namespace vmlane::agent {

// An attachment with what the objects say about it.
struct Attachment {
  const AttachmentRecord* record = nullptr;
  std::string pod;                 // "ns/name"; empty while no object says
  std::string network;             // of the policy model: "default" or "ns/name"; empty while no object says
  std::string missing;             // why one of them is not known
  std::vector<IpAddress> learned;  // by the programs on its link, where no IPAM plugin gave it any
};

// Which pod and network each attachment is of (contracts.md 2.2). The pod is the record's, by name and uid.
// The network is `default` for the interface that network-status calls so, or else for eth0 unless the pod's
// networks annotation asks for an interface of that name; for others the record's `nad`, network-status, or
// the networks annotation, in this order: the record is what a plugin did, an annotation is what somebody
// wrote.
std::vector<Attachment> join(const std::map<std::string, AttachmentRecord>& records, const Cluster& cluster);

// Puts what only this node knows into the objects that policy gets: the addresses that attachments were
// given, interfaces that no network-status tells of yet, the node that unbound pods are on, and the node's
// own addresses.
class Completion {
 public:
  explicit Completion(std::string node) : node_(std::move(node)) {}

  ObjectSet complete(const ObjectSet& objects, const std::vector<Attachment>& attachments,
                     const std::vector<IpAddress>& node_addresses);

 private:
  // The completed object as a pointer that stays while it says the same.
  ObjectPointer made(const std::string& key, const ObjectPointer& source, Json json);

  std::string node_;
  std::map<std::string, ObjectPointer> made_;
};

// What the programs on the link of an attachment without IPAM have learned (docs/plugins.md): addresses that
// are its own for as long as they last.
std::vector<IpAddress> learned_addresses(const AttachmentRecord& record);

// The addresses on links of this network namespace, but for loopback and IPv6 link-local ones.
std::vector<IpAddress> own_addresses();

}  // namespace vmlane::agent
