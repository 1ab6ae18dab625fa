// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <iosfwd>
#include <map>
#include <string>

#include "core/error.h"

namespace vmlane {

// All that a program takes from its surroundings. main() builds one and calls one function; nothing else
// reads the environment, the standard streams or the arguments, so that a test can give them.
struct Invocation {
  std::map<std::string, std::string, std::less<>> env;
  std::function<Result<std::string>()>
      read_stdin;  // read only when an operation needs it: VERSION must not wait for it
  std::ostream* out = nullptr;
  std::ostream* err = nullptr;

  // The value of an environment variable, empty when unset (CNI treats both alike).
  std::string variable(std::string_view name) const {
    const auto it = env.find(name);
    return it == env.end() ? std::string() : it->second;
  }
};

// The invocation of this process.
Invocation process_invocation();

}  // namespace vmlane
