// SPDX-License-Identifier: Apache-2.0
#include "cni/real_kernel.h"
#include "cni/vhostuser/vhostuser.h"
#include "core/invocation.h"

int main() {
  vmlane::cni::VhostuserLane lane;
  vmlane::cni::RealKernel kernel;
  return vmlane::cni::run_lane(vmlane::process_invocation(), lane, kernel);
}
