// SPDX-License-Identifier: Apache-2.0
#include "cli/app.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <ostream>

namespace vmlane::cli {

int Context::failed(const Error& error) const {
  err() << "vmlanectl: " << error.text() << std::endl;
  return kFailed;
}

void add_output_option(CLI::App& command, Context& context) {
  static const std::map<std::string, OutputFormat> formats = {
      {"table", OutputFormat::kTable}, {"json", OutputFormat::kJson}, {"yaml", OutputFormat::kYaml}};
  command.add_option("-o,--output", context.format, "table (default), json or yaml")
      ->transform(CLI::CheckedTransformer(formats).description(""))
      ->type_name("FORMAT");
}

int run_vmlanectl(std::vector<std::string> arguments, const Invocation& invocation) {
  Context context{.invocation = invocation};
  CLI::App app("The network of containers, for virtual machines on Kubernetes.", "vmlanectl");
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::simple);
  add_lab_commands(app, context);
  add_agent_commands(app, context);
  add_attachment_commands(app, context);
  add_cloud_init_command(app, context);
  add_nad_commands(app, context);
  add_policy_commands(app, context);
  add_switch_commands(app, context);
  const auto separator = std::ranges::find(arguments, "--");
  if (separator != arguments.end()) context.command.assign(separator + 1, arguments.end());
  arguments.erase(separator, arguments.end());
  std::ranges::reverse(arguments);  // as the library wants them
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, context.out(), context.err()) == 0 ? 0 : kUsage;
  }
  return context.run();
}

}  // namespace vmlane::cli
