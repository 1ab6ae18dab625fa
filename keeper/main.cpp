// SPDX-License-Identifier: Apache-2.0
#include "keeper/app.h"

int main(int argc, char** argv) {
  return vmlane::keeper::run_keeper({argv + 1, argv + argc}, vmlane::process_invocation());
}
