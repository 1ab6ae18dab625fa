// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "lab/state.h"

namespace CLI {  // NOLINT(readability-identifier-naming): the library's name
class App;
class Option;
}  // namespace CLI

namespace vmlane::cli {

// The option `--dir` of every command that works on a lab.
struct LabDirectory {
  std::string text = "/run/vmlane-lab";

  CLI::Option* add_option(CLI::App& command);
  // Absolute and without "..", as the node config wants it.
  lab::LabPaths paths() const;
};

}  // namespace vmlane::cli
