// SPDX-License-Identifier: Apache-2.0
#include "cni/macvtap/macvtap.h"
#include "cni/real_kernel.h"
#include "core/invocation.h"

int main() {
  vmlane::cni::MacvtapLane lane;
  vmlane::cni::RealKernel kernel;
  return vmlane::cni::run_lane(vmlane::process_invocation(), lane, kernel);
}
