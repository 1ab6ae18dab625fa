// SPDX-License-Identifier: Apache-2.0
#include "lab/switch_process.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "core/files.h"
#include "core/json_rpc.h"
#include "core/keeper_paths.h"
#include "lab/namespaces.h"

namespace vmlane::lab {
namespace {

constexpr auto kPatience = std::chrono::seconds(60);
constexpr auto kSocketPoll = std::chrono::milliseconds(20);

Error not_started(const SwitchPlace& place) {
  const auto said = read_file(place.output);
  return {Code::kNotAvailable, "vmlane-keeper and its switch do not serve the node",
          said && *said ? "its words: " + **said : std::string(), nullptr};
}

bool serves(const NodeConfig& config) {
  auto keeper = json_rpc::Client::connect(keeper_socket(config));
  if (!keeper) return false;
  const auto status = keeper->call("status");
  return status && status->value("state", "") == "forwarding";
}

}  // namespace

Result<ProcessRef> start_switch(const SwitchPlace& place, const NodeConfig& config,
                                const std::function<Result<>(const ProcessRef&)>& record) {
  if (::access(place.program.c_str(), X_OK) != 0)
    return fail(Code::kNotFound, place.program.string() + " cannot be run",
                "build it, or name its directory with --bin-dir");
  const Fd output(::open(place.output.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!output) return fail(io_error("cannot open " + place.output.string(), errno));
  Daemon daemon{.command = {place.program.string()}, .output = output.get()};
  daemon.prepare = [&]() -> Result<> {
    if (::setenv("VMLANE_CONFIG", config.source.c_str(), 1) != 0)
      return fail(io_error("cannot set VMLANE_CONFIG", errno));
    return enter_namespace(place.network_namespace);
  };
  VMLANE_ASSIGN(const ProcessRef process, start_daemon(daemon, record));
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!serves(config)) {
    if (!is_alive(process) || std::chrono::steady_clock::now() >= deadline) return fail(not_started(place));
    std::this_thread::sleep_for(kSocketPoll);
  }
  return process;
}

}  // namespace vmlane::lab
