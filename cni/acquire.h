// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "cni/ipam.h"
#include "cni/lane.h"
#include "cni/request.h"
#include "cni/result.h"
#include "cni/session.h"
#include "core/error.h"
#include "core/lock.h"
#include "core/record.h"
#include "core/transaction.h"

namespace vmlane::cni {

// What an attachment takes from stocks that all of a node share: a MAC on its segment and addresses of its
// network. A MAC that a living NIC on the segment has is Code::kConflict naming its owner, or Code::kTryAgain
// when that is an earlier sandbox of the same pod or VM. What such a sandbox had is released, and taken over,
// only once it is gone.
class Acquisition {
 public:
  // `lock` is the attachment's: it is held for as long as the IPAM plugin is at work.
  Acquisition(const Session& session, const Lane& lane, const Ipam& ipam, AttachmentRecord& record,
              Transaction& transaction, const ObjectLock& lock)
      : session_(session),
        lane_(lane),
        ipam_(ipam),
        record_(record),
        transaction_(transaction),
        lock_(lock) {}

  // Writes the intent, takes the MAC (record.mac) and sets the IPAM plugin to work.
  Result<> begin(const NicRequest& nic);
  // Waits for the IPAM plugin. Its result; empty without IPAM.
  Result<CniResult> finish();

 private:
  Ipam::Caller caller() const;
  Result<> start_ipam();
  Result<Ipam::Allocation> addresses();

  const Session& session_;
  const Lane& lane_;
  const Ipam& ipam_;
  AttachmentRecord& record_;
  Transaction& transaction_;
  const ObjectLock& lock_;
  std::optional<ObjectLock> network_;
  std::optional<Ipam::Pending> pending_;
};

}  // namespace vmlane::cni
