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

// Which pod and network an attachment is of (contracts.md 2.2). The pod is the record's, by name and uid. The
// network is `default` for the interface that network-status calls so, or else for eth0 unless the pod's
// networks annotation asks for an interface of that name; for others the record's `nad`, network-status, or
// the networks annotation, in this order: the record is what a plugin did, an annotation is what somebody
// wrote.
Attachment join(const AttachmentRecord& record, const Cluster& cluster);

// A pod's object with what only this node knows: the node, the addresses that its attachments were given or
// have learned, and interfaces that no network-status tells of yet.
ObjectPointer completed_pod(const ObjectPointer& pod, const std::vector<const Attachment*>& attachments,
                            const std::string& node);
// The object of this node, nullptr when there is none, with the node's own addresses.
ObjectPointer completed_node(const ObjectPointer& object, const std::string& node,
                             const std::vector<IpAddress>& addresses);

// What the programs on the link of an attachment without IPAM have learned (docs/plugins.md): addresses that
// are its own for as long as they last.
std::vector<IpAddress> learned_addresses(const AttachmentRecord& record);

// The addresses on links of this network namespace, but for loopback and IPv6 link-local ones.
std::vector<IpAddress> own_addresses();

}  // namespace vmlane::agent
