// SPDX-License-Identifier: Apache-2.0
#include "core/invocation.h"

#include <unistd.h>

#include <iostream>

#include "core/files.h"

namespace vmlane {

Invocation process_invocation() {
  Invocation invocation;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; entry++) {
    const std::string_view text(*entry);
    const auto equals = text.find('=');
    if (equals != std::string_view::npos)
      invocation.env.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  // A little above what parse_json takes, which then says so; more is not even read.
  constexpr std::size_t kMaxStdin = std::size_t{5} << 20;
  invocation.read_stdin = [] { return read_all(STDIN_FILENO, "standard input", kMaxStdin); };
  invocation.out = &std::cout;
  invocation.err = &std::cerr;
  return invocation;
}

}  // namespace vmlane
