// SPDX-License-Identifier: Apache-2.0
#include "keeper/app.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <ostream>

#include "core/files.h"
#include "core/log.h"
#include "core/node_config.h"
#include "keeper/keeper.h"

namespace vmlane::keeper {
namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;

struct Arguments {
  std::string program;
  std::vector<std::string> switch_options;
  bool no_standby = false;
};

Result<Fd> stop_signals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGTERM);
  ::sigaddset(&signals, SIGINT);
  if (::sigprocmask(SIG_BLOCK, &signals, nullptr) != 0)
    return fail(kernel_error("cannot block signals", errno));
  Fd fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return fail(kernel_error("cannot take signals as a descriptor", errno));
  return fd;
}

// The switch beside this program.
std::string default_program() {
  std::error_code error;
  return (std::filesystem::read_symlink("/proc/self/exe", error).parent_path() / "vmlane-switch").string();
}

Result<> serve(const Arguments& arguments, const Invocation& invocation) {
  // The guests' memory could be reached through its descriptors.
  ::prctl(PR_SET_DUMPABLE, 0);
  VMLANE_ASSIGN(const NodeConfig config, load_node_config(invocation));
  const Log log(config, "vmlane-keeper");
  VMLANE_ASSIGN(const Fd stop, stop_signals());
  KeeperOptions options{.switch_command = {arguments.program}, .standby = !arguments.no_standby};
  options.switch_command.insert(options.switch_command.end(), arguments.switch_options.begin(),
                                arguments.switch_options.end());
  options.switch_command.insert(options.switch_command.end(),
                                {"--keeper", std::to_string(SwitchProcess::kLinkNumber)});
  VMLANE_ASSIGN(const auto keeper, Keeper::create(config, options, log));
  return keeper->run(stop.get(), [&] { *invocation.out << "ready" << std::endl; });
}

}  // namespace

int run_keeper(std::vector<std::string> words, const Invocation& invocation) {
  CLI::App app(
      "Keeps the vhost-user switch running: holds the connections to QEMU, and replaces the switch without "
      "a\n"
      "guest noticing when it dies or is to be upgraded.",
      "vmlane-keeper");
  app.failure_message(CLI::FailureMessage::simple);
  Arguments arguments{.program = default_program()};
  app.add_option("--switch", arguments.program, "the switch's program")->capture_default_str();
  app.add_flag("--no-standby", arguments.no_standby,
               "keep no second switch ready: half the memory, and a longer gap when the first one dies");
  app.add_option("OPTIONS", arguments.switch_options, "after --: options of vmlane-switch");
  std::ranges::reverse(words);  // as the library wants them
  try {
    app.parse(words);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, *invocation.out, *invocation.err) == 0 ? 0 : kUsage;
  }
  const auto served = serve(arguments, invocation);
  if (served) return 0;
  *invocation.err << "vmlane-keeper: " << served.error().text() << std::endl;
  return kFailed;
}

}  // namespace vmlane::keeper
