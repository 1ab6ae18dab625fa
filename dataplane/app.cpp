// SPDX-License-Identifier: Apache-2.0
#include "dataplane/app.h"

#include <signal.h>
#include <sys/signalfd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <map>
#include <optional>
#include <ostream>

#include "core/files.h"
#include "core/log.h"
#include "core/node_config.h"
#include "dataplane/keeper_link.h"
#include "dataplane/memory.h"
#include "dataplane/switch.h"

namespace vmlane::dataplane {
namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;

struct Arguments {
  MemoryOptions memory;
  SwitchOptions to_switch;
  int keeper = -1;  // descriptor; -1: none
};

void add_options(CLI::App& app, Arguments& options) {
  static const std::map<std::string, Pages> pages = {
      {"auto", Pages::kAuto}, {"huge", Pages::kHuge}, {"normal", Pages::kNormal}};
  static const std::map<std::string, WorkerMode> modes = {{"adaptive", WorkerMode::kAdaptive},
                                                          {"poll", WorkerMode::kPoll},
                                                          {"interrupt", WorkerMode::kInterrupt}};
  app.add_option("--pages", options.memory.pages,
                 "memory of the switch's buffers: auto (huge pages if enough are free), huge, normal")
      ->transform(CLI::CheckedTransformer(pages).description(""))
      ->type_name("PAGES");
  app.add_option("--buffers", options.memory.buffers, "buffers of 2 KiB")
      ->check(CLI::Range(1024, 1 << 20))
      ->capture_default_str();
  app.add_option("--mode", options.to_switch.worker.mode,
                 "adaptive (looks for frames while that pays, else blocks), poll (never blocks), interrupt")
      ->transform(CLI::CheckedTransformer(modes).description(""))
      ->type_name("MODE");
  app.add_option("--cpu-budget", options.to_switch.worker.cpu_budget,
                 "percent of a CPU that mode adaptive may spend looking in vain; 100 is no cap")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  app.add_option("--cpu", options.to_switch.worker.cpu,
                 "CPU that the worker stays on; without it the kernel chooses");
  app.add_option("--metrics", options.to_switch.metrics,
                 "give counters to Prometheus over HTTP at this address, /metrics; without it nowhere")
      ->type_name("ADDRESS:PORT");
  app.add_option("--keeper", options.keeper, "for vmlane-keeper: the descriptor to speak with it");
}

// SIGTERM and SIGINT as a descriptor, for all threads that are made from now on.
Result<Fd> stop_signals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGTERM);
  ::sigaddset(&signals, SIGINT);
  if (::pthread_sigmask(SIG_BLOCK, &signals, nullptr) != 0)
    return fail(kernel_error("cannot block signals", errno));
  Fd fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return fail(kernel_error("cannot take signals as a descriptor", errno));
  return fd;
}

Result<> serve(const Arguments& options, const Invocation& invocation) {
  VMLANE_ASSIGN(const NodeConfig config, load_node_config(invocation));
  const Log log(config, "vmlane-switch");
  VMLANE_ASSIGN(const Fd stop, stop_signals());
  if (!options.to_switch.metrics.empty()) VMLANE_TRY(MetricsServer::parse(options.to_switch.metrics));
  std::optional<KeeperLink> keeper;
  if (options.keeper >= 0) keeper.emplace(options.keeper);
  VMLANE_ASSIGN(rte_mempool * pool, start_memory(options.memory));
  if (keeper && !keeper->wait_for_turn(stop.get())) return {};
  VMLANE_ASSIGN(const auto made,
                Switch::create(config, options.to_switch, pool, keeper ? &*keeper : nullptr, log));
  if (!keeper) *invocation.out << "ready" << std::endl;
  return made->run(stop.get());
}

}  // namespace

int run_switch(std::vector<std::string> arguments, const Invocation& invocation) {
  CLI::App app("The switch of the vhost-user lane: VMs and their network's bridge, joined in user space.",
               "vmlane-switch");
  app.failure_message(CLI::FailureMessage::simple);
  Arguments options;
  add_options(app, options);
  std::ranges::reverse(arguments);  // as the library wants them
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, *invocation.out, *invocation.err) == 0 ? 0 : kUsage;
  }
  const auto served = serve(options, invocation);
  if (served) return 0;
  *invocation.err << "vmlane-switch: " << served.error().text() << std::endl;
  return kFailed;
}

}  // namespace vmlane::dataplane
