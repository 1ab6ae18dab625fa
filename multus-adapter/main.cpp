// SPDX-License-Identifier: Apache-2.0
#include "core/exec.h"
#include "core/invocation.h"
#include "multus-adapter/meta_plugin.h"

int main() {
  vmlane::ProcessExec exec;
  return vmlane::multus::run_meta_plugin(vmlane::process_invocation(), exec,
                                         vmlane::multus::open_pod_netlink);
}
