// SPDX-License-Identifier: Apache-2.0
#include "agent/agent.h"

int main(int argc, char** argv) {
  return vmlane::agent::agent_main({argv + 1, argv + argc}, vmlane::process_invocation());
}
