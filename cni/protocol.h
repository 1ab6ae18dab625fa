// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "cni/request.h"
#include "core/error.h"
#include "core/invocation.h"

// The plugin's side of the CNI protocol (specification 1.1.0, and the Go skeleton's order of validation,
// which runtimes and their tests have come to rely on): environment and stdin in, exactly one JSON document
// or nothing on stdout, an exit status.
namespace vmlane::cni {

struct Plugin {
  std::string name;   // "vmlane-tap"
  std::string about;  // one line for who starts it by hand
  std::function<Result<CniResult>(const Request&)> add;
  std::function<Result<>(const Request&)> del;
  std::function<Result<>(const Request&)> check;
  std::function<Result<>(const Request&)> gc;
  std::function<Result<>(const Request&)> status;
  // Told of each call but VERSION once it is over, also of one that failed before the request was complete;
  // no error means success. May be empty.
  std::function<void(const Request&, const Error*, std::chrono::microseconds)> report;
};

// Runs the operation that the environment asks for and returns the exit status: 0, or 1 with the error object
// on stdout.
int run(const Invocation& invocation, const Plugin& plugin);

}  // namespace vmlane::cni
