// SPDX-License-Identifier: Apache-2.0
#include "cni/session.h"

#include "cni/operation_log.h"
#include "core/boot_id.h"

namespace vmlane::cni {

Result<std::unique_ptr<Session>> Session::open(const Request& request, const std::string& program,
                                               Kernel& kernel) {
  VMLANE_ASSIGN(NodeConfig config, load_node_config(request.invocation));
  VMLANE_ASSIGN(const FaultPoint fault, FaultPoint::parse(request.invocation.variable("VMLANE_FAULT")));
  VMLANE_ASSIGN(std::string boot_id, read_boot_id(config.boot_id_file));
  Log log(config, program, log_context(request));
  return std::unique_ptr<Session>(new Session(std::move(config), request.invocation.env, std::move(log),
                                              fault, kernel, std::move(boot_id)));
}

}  // namespace vmlane::cni
