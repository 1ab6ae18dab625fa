// SPDX-License-Identifier: Apache-2.0
#include "cni/real_kernel.h"
#include "cni/tap/labelled_tap.h"
#include "cni/tap/tap.h"
#include "core/invocation.h"

int main() {
  const vmlane::Invocation invocation = vmlane::process_invocation();
  if (const auto status = vmlane::cni::run_tap_helper(invocation)) return *status;
  vmlane::cni::TapLane lane;
  vmlane::cni::RealKernel kernel;
  return vmlane::cni::run_lane(invocation, lane, kernel);
}
