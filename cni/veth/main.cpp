// SPDX-License-Identifier: Apache-2.0
#include "cni/real_kernel.h"
#include "cni/veth/veth.h"
#include "core/invocation.h"

int main() {
  vmlane::cni::VethLane lane;
  vmlane::cni::RealKernel kernel;
  return vmlane::cni::run_lane(vmlane::process_invocation(), lane, kernel);
}
