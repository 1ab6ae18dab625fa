// SPDX-License-Identifier: Apache-2.0
#include "dataplane/app.h"

int main(int argc, char** argv) {
  return vmlane::dataplane::run_switch({argv + 1, argv + argc}, vmlane::process_invocation());
}
