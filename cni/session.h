// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cni/lane.h"
#include "core/error.h"
#include "core/exec.h"
#include "core/lock.h"
#include "core/record.h"
#include "core/transaction.h"

namespace vmlane::cni {

// What each operation opens first: node config, log, boot id, record store.
class Session {
 public:
  static Result<std::unique_ptr<Session>> open(const Request& request, const std::string& program,
                                               Kernel& kernel);

  const NodeConfig config;
  const Environment env;  // of the call, for delegates
  const Log log;
  const FaultPoint fault;
  const Node node;
  const RecordStore store;

  // Serialises operations on one attachment.
  Result<ObjectLock> lock(const std::string& attachment_id) const {
    return ObjectLock::acquire(config.locks_dir(), "attachment", attachment_id);
  }
  // A network's addresses: shared by ADDs that take one, exclusive for who frees those of the dead.
  Result<ObjectLock> lock_network(const std::string& network, ObjectLock::Mode mode) const {
    return ObjectLock::acquire(config.locks_dir(), "network", network, ObjectLock::kDefaultTimeout, mode);
  }

 private:
  Session(NodeConfig node_config, Environment environment, Log session_log, FaultPoint fault_point,
          Kernel& kernel, std::string boot_id)
      : config(std::move(node_config)),
        env(std::move(environment)),
        log(std::move(session_log)),
        fault(fault_point),
        node{config, log, kernel, std::move(boot_id)},
        store(config) {}
};

}  // namespace vmlane::cni
