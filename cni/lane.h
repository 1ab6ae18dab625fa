// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cni/kernel.h"
#include "cni/link_removal.h"
#include "cni/request.h"
#include "cni/result.h"
#include "core/error.h"
#include "core/log.h"
#include "core/node_config.h"
#include "core/record.h"
#include "core/transaction.h"

// A lane is one way to wire a NIC: what differs between vmlane-veth, vmlane-tap and their siblings. What they
// share (record, locks, namespace identity, IPAM, undo, the order of it all) is in attach.h and detach.h,
// which call the lane.
//
//   ADD: configure (pure) -> plan (pure: names into the record) -> [intent on disk] -> prepare, while IPAM is
//   at
//        work -> apply, step by step -> [done on disk]
//   DEL, GC, sweep and the undo of a crashed ADD: silence -> reclaim, from the record or from names alone,
//   while
//        IPAM is at work
namespace vmlane::cni {

// The node as an operation sees it.
struct Node {
  const NodeConfig& config;
  const Log& log;
  Kernel& kernel;
  std::string boot_id;
};

// What ADD hands to a lane.
struct Attachment {
  const Node& node;
  const Request& request;
  const NicRequest& nic;
  const netlink::Namespace& host;
  const netlink::Namespace& pod;
  Transaction& transaction;
  AttachmentRecord& record;
  const CniResult& ipam;  // empty without IPAM, and until apply()
};

// What CHECK hands to a lane.
struct Inspection {
  const Node& node;
  const Request& request;
  const netlink::Namespace& host;
  const netlink::Namespace& pod;
  const AttachmentRecord& record;
};

// CHECK's word for what is not as ADD has left it.
std::unexpected<Error> changed(const std::string& what, const std::string& is, const std::string& was);

// The MTU where nothing below a link says another.
constexpr std::uint32_t kDefaultMtu = 1500;

// What is to be removed. Without a record (lost state) only the key is known and objects are found by the
// owner they carry.
struct Reclaim {
  const Node& node;
  const AttachmentKey& key;
  const AttachmentRecord* record = nullptr;
  const netlink::Namespace& host;
  const netlink::Namespace* pod =
      nullptr;               // set when the pod's namespace is there and is known to be the same one
  Transaction& transaction;  // numbers the steps; they have no undo

  // A step that takes something away. A link may vanish between the look for it and the step, with the pod's
  // namespace or by its owner's hand: what is gone (Code::kNotFound) is success.
  Result<> step(std::string_view name, const std::function<Result<>()>& work) const {
    return transaction.step(name, [&]() -> Result<> {
      auto done = work();
      if (!done && done.error().code == Code::kNotFound) return {};
      return done;
    });
  }
  // The step that removes a link, and what its removal takes along. The link is gone when it returns; the
  // kernel's last wait for it goes on without us (link_removal.h).
  Result<> remove_link(std::string_view name, const netlink::Namespace& where, int index,
                       const LinkRemoval& removal) const {
    return step(name, [&] { return cni::remove_link(node.kernel, where, index, removal); });
  }
  Result<> remove_link(std::string_view name, const netlink::Namespace& where, int index) const {
    return remove_link(name, where, index,
                       [index](netlink::Netlink& links) { return links.delete_link(index); });
  }
};

// What a lane has made of the keys of a config.
struct ConfigKeys {
  std::vector<std::string> known;    // those that the lane asks for, given or not
  std::vector<std::string> unknown;  // given, that say something, and that nobody reads
};

class Lane {
 public:
  virtual ~Lane() = default;

  virtual std::string type() const = 0;
  virtual std::string about() const = 0;
  // Decodes the lane's keys. Errors are Code::kInvalidConfig or kUnsupportedField and name key and value.
  virtual Result<ConfigKeys> configure(const Request& request, const NodeConfig& node) = 0;
  // The L2 segment that the NIC will be on, e.g. "bridge:br1": one network id each, and one owner of each MAC
  // on it.
  virtual std::string segment() const = 0;
  // The links that ADD will make in the pod; none of them may exist yet.
  virtual std::vector<std::string> pod_links(const AttachmentKey& key) const = 0;
  // Writes into record.handles what reclaim needs, before anything is made.
  virtual void plan(AttachmentRecord& record) const = 0;
  // Makes what needs no address, while IPAM is still at work; nothing that carries a frame is up after it.
  // Sets record.mtu and handles. What it makes is undone by reclaim.
  virtual Result<> prepare(Attachment& attachment) = 0;
  // Makes the rest and returns interfaces, ips and routes.
  virtual Result<CniResult> apply(Attachment& attachment) = 0;
  // Makes sure that the NIC neither gets nor sends another frame, so that its addresses may go to others:
  // removes its links, or has them closed. Only with a record.
  virtual Result<> silence(const Reclaim& reclaim) const = 0;
  // Removes all that ADD made and silence() left, except IPAM and record. What is gone is success; what is
  // somebody else's is left.
  virtual Result<> reclaim(const Reclaim& reclaim) const = 0;
  // Both, as the undo of prepare().
  Result<> take_down(const Attachment& attachment) const;
  // Code::kChanged naming what differs from the record.
  virtual Result<> check(const Inspection& inspection) = 0;
  // Code::kNotAvailable with reason and fix when ADD would fail for a reason of the node.
  virtual Result<> status(const Request& request, const Node& node) = 0;
};

// configure() for an operation: keys that nobody knows are logged.
Result<> configure(Lane& lane, const Request& request, const Node& node);

// The plugin's whole main() but for reading the process: runs the operation that `invocation` asks for with
// this lane.
int run_lane(const Invocation& invocation, Lane& lane, Kernel& kernel);

}  // namespace vmlane::cni
