// SPDX-License-Identifier: Apache-2.0
#include "cli/app.h"

int main(int argc, char** argv) {
  return vmlane::cli::run_vmlanectl({argv + 1, argv + argc}, vmlane::process_invocation());
}
