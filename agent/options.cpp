// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <algorithm>
#include <ostream>

#include "agent/agent.h"

namespace vmlane::agent {
namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;
constexpr double kMaxCheckInterval = 86400;  // a day; what is looked at less often may as well not be

constexpr std::string_view kExamples =
    "Examples:\n"
    "  vmlane-agent --objects /etc/vmlane/objects\n"
    "  vmlane-agent --objects nads --objects policies --node node-a --once\n"
    "  vmlane-agent --kubeconfig /etc/kubernetes/vmlane-agent.conf";

}  // namespace

int agent_main(std::vector<std::string> arguments, const Invocation& invocation) {
  AgentOptions options;
  std::vector<std::string> objects;
  std::string kubeconfig;
  std::string config;
  CLI::App app("The node daemon of vmlane: facts about pods for the plugins, policy for the datapaths.",
               "vmlane-agent");
  app.failure_message(CLI::FailureMessage::simple);
  app.footer(std::string(kExamples));
  auto* source = app.add_option_group("source", "Where Kubernetes objects come from: one of");
  source
      ->add_option("--objects", objects,
                   "directory with Kubernetes objects in YAML or JSON files; may be given again")
      ->type_name("DIR");
  source->add_option("--kubeconfig", kubeconfig, "the API server that this file names, with its credentials")
      ->type_name("FILE");
  bool in_cluster = false;
  source->add_flag("--in-cluster", in_cluster, "the API server of the cluster that the agent is a pod of");
  source->require_option(1);
  app.add_option("--node", options.node, "name of this node's Node object (default: the host's name)")
      ->type_name("NAME");
  app.add_option("--config", config, "node config (default: $VMLANE_CONFIG, else the system's)")
      ->type_name("FILE");
  double check_interval = std::chrono::duration<double>(options.check_interval).count();
  app.add_option("--check-interval", check_interval,
                 "seconds in which each attachment is seen to by its plugin's CHECK, and published policy is "
                 "compared with what is in force (default: 60; 0: never)")
      ->check(CLI::Range(0.0, kMaxCheckInterval))
      ->type_name("SECONDS");
  app.add_flag("--once", options.once, "do everything once, print the status, and end");
  std::ranges::reverse(arguments);  // as the library wants them
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, *invocation.out, *invocation.err) == 0 ? 0 : kUsage;
  }
  options.objects.assign(objects.begin(), objects.end());
  options.kubeconfig = kubeconfig;
  options.check_interval =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::duration<double>(check_interval));
  Invocation given = invocation;
  if (!config.empty()) given.env["VMLANE_CONFIG"] = config;
  const auto ran = run_agent(options, given);
  if (ran) return 0;
  *invocation.err << "vmlane-agent: " << ran.error().text() << std::endl;
  return kFailed;
}

}  // namespace vmlane::agent
