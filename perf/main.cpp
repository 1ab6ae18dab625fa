// SPDX-License-Identifier: Apache-2.0
#include "perf/app.h"

int main(int argc, char** argv) {
  return vmlane::perf::run_vmlane_perf({argv + 1, argv + argc}, vmlane::process_invocation());
}
