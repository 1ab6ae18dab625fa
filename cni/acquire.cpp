// SPDX-License-Identifier: Apache-2.0
#include "cni/acquire.h"

#include <chrono>
#include <optional>

#include "cni/leftovers.h"
#include "cni/mac_claim.h"
#include "core/lock.h"

namespace vmlane::cni {
namespace {

Error mac_conflict(const Session& session, const Lane& lane, const AttachmentRecord& record,
                   const AttachmentRecord& owner) {
  const std::string who = owner.pod.name.empty() ? "container " + owner.key.container_id
                          : owner.pod.vm.empty() ? "pod " + owner.pod.ns + "/" + owner.pod.name
                                                 : "VM " + owner.pod.ns + "/" + owner.pod.vm;
  Error error{Code::kConflict,
              "MAC " + record.mac.value_or("") + " on " + lane.segment() + " is that of " + who +
                  " (container " + owner.key.container_id + ", interface " + owner.key.ifname + ", network " +
                  owner.key.network + ")",
              "give one of them another MAC", nullptr};
  const bool another_sandbox = owner.key.container_id != record.key.container_id;
  if (!another_sandbox || record.pod.workload().empty() || record.pod.workload() != owner.pod.workload())
    return error;
  error.code = Code::kTryAgain;
  error.details = "its sandbox still runs; the MAC is free when that ends";
  if (!record.pod.vm.empty()) {
    error.details += "; a migration's target may share it, but is known as such only by pod facts in " +
                     session.config.pods_dir().string();
  }
  return error;
}

// The MAC an attachment is to have, whose it is so far, and what must go first.
struct MacPlan {
  MacAddress mac;
  std::string from;                      // id of the attachment that has it, empty when it is free
  std::optional<AttachmentRecord> dead;  // the same workload's earlier attachment, to be removed whole
};

// Whether the attachment would be the same VM's NIC as the owner's, moved.
bool is_migration_of(const AttachmentRecord& record, const AttachmentRecord& owner) {
  return !record.pod.migration.empty() && !record.pod.vm.empty() &&
         owner.pod.workload() == record.pod.workload();
}

// The MAC that was asked for, else the workload's. When a living NIC has it: a pod, which nobody knows by its
// MAC, does with the attachment's own; for a VM, and for a wish, it is an error naming the owner. Sets
// record.mac.
Result<MacPlan> plan_mac(const Session& session, const Lane& lane, const NicRequest& nic,
                         const MacClaims& claims, AttachmentRecord& record) {
  MacPlan plan{nic.mac.value_or(workload_mac(record.key, record.pod)), {}, std::nullopt};
  record.mac = plan.mac.to_string();
  VMLANE_ASSIGN(auto owner, claims.owner(plan.mac));
  if (!owner || owner->key.id() == record.key.id()) return plan;
  plan.from = owner->key.id();
  if (is_migration_of(record, *owner)) return plan;
  const bool same_workload = !record.pod.workload().empty() && owner->pod.workload() == record.pod.workload();
  // The kernel may still be at taking the namespace down whose end let the runtime begin anew.
  constexpr auto kPatience = std::chrono::seconds(2);
  VMLANE_ASSIGN(const bool gone,
                sandbox_is_gone(session.node, *owner, same_workload ? kPatience : std::chrono::seconds(0)));
  if (gone) {
    const bool same_nic = owner->key.network == record.key.network && owner->key.ifname == record.key.ifname;
    if (same_workload && same_nic) plan = {plan.mac, {}, std::move(owner)};
    return plan;
  }
  if (nic.mac || !record.pod.vm.empty()) return fail(mac_conflict(session, lane, record, *owner));
  plan = {attachment_mac(record.key), {}, std::nullopt};
  record.mac = plan.mac.to_string();
  return plan;
}

Result<> take_mac(const Session& session, const Lane& lane, const NicRequest& nic, const MacPlan& plan,
                  const MacClaims& claims, AttachmentRecord& record) {
  VMLANE_ASSIGN(bool taken, claims.take(plan.mac, record.key.id(), plan.from));
  if (taken) return {};
  if (!nic.mac && record.pod.vm.empty()) {
    // Another pod was faster.
    const MacAddress own = attachment_mac(record.key);
    record.mac = own.to_string();
    VMLANE_TRY(session.store.write(record));
    VMLANE_ASSIGN(taken, claims.take(own, record.key.id()));
    if (taken) return {};
  }
  VMLANE_ASSIGN(const auto owner, claims.owner(plan.mac));
  if (!owner) return fail(Code::kTryAgain, "MAC " + plan.mac.to_string() + " has just been given back");
  return fail(mac_conflict(session, lane, record, *owner));
}

Result<> give_mac_back(const Session& session, const AttachmentRecord& record, const std::string& heir) {
  VMLANE_ASSIGN(const MacAddress mac, MacAddress::parse(record.mac.value_or("")));
  return MacClaims(session.config, *record.network_id).release(mac, record.key.id(), heir);
}

}  // namespace

Ipam::Caller Acquisition::caller() const {
  auto caller = Ipam::caller_of(record_, session_.env);
  caller.lock = lock_.fd();
  return caller;
}

Result<> Acquisition::begin(const NicRequest& nic) {
  const MacClaims claims(session_.config, *record_.network_id);
  VMLANE_ASSIGN(const MacPlan plan, plan_mac(session_, lane_, nic, claims, record_));
  using Mode = ObjectLock::Mode;
  if (ipam_.enabled() || plan.dead) {
    VMLANE_ASSIGN(network_,
                  session_.lock_network(record_.key.network, plan.dead ? Mode::kExclusive : Mode::kShared));
  }
  if (plan.dead) VMLANE_TRY(reclaim_dead(session_, lane_, *plan.dead, record_.cni_path));
  VMLANE_TRY(transaction_.step(
      "record the intent", [&] { return session_.store.write(record_, Sync::kLater); },
      [this] { return session_.store.remove(record_.key.id()); }));
  VMLANE_TRY(transaction_.step(
      "take the MAC", [&] { return take_mac(session_, lane_, nic, plan, claims, record_); },
      [this, plan] {
        // Whoever had the MAC that was planned has nothing to do with another that was taken instead.
        const bool planned = record_.mac == plan.mac.to_string();
        return give_mac_back(session_, record_, planned ? plan.from : std::string());
      }));
  if (ipam_.enabled()) VMLANE_TRY(start_ipam());
  // The disk is waited for while IPAM is at work, and before the kernel is touched.
  return transaction_.step("make the intent durable",
                           [this] { return session_.store.sync(record_.key.id()); });
}

Result<> Acquisition::start_ipam() {
  return transaction_.step(
      "ask IPAM for addresses",
      [&]() -> Result<> {
        VMLANE_ASSIGN(pending_, ipam_.start(caller(), "ADD"));
        return {};
      },
      [this] {
        pending_.reset();
        return ipam_.del(caller());
      });
}

// An allocator that refuses may still hold what the same workload had in a sandbox that is gone: once that is
// released it is asked again.
Result<Ipam::Allocation> Acquisition::addresses() {
  Ipam::Pending pending = std::move(*pending_);
  pending_.reset();
  auto taken = ipam_.finish_add(std::move(pending));
  if (taken) return taken;
  network_.reset();
  VMLANE_ASSIGN(network_, session_.lock_network(record_.key.network, ObjectLock::Mode::kExclusive));
  VMLANE_ASSIGN(const bool released, reclaim_predecessors(session_, lane_, record_));
  return released ? ipam_.add(caller()) : taken;
}

Result<CniResult> Acquisition::finish() {
  CniResult result;
  if (!ipam_.enabled()) return result;
  VMLANE_TRY(transaction_.step("take addresses from IPAM", [&]() -> Result<> {
    VMLANE_ASSIGN(auto allocation, addresses());
    record_.ipam_version = allocation.version;
    result = std::move(allocation.result);
    return {};
  }));
  network_.reset();
  return result;
}

}  // namespace vmlane::cni
