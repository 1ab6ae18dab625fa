// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <ostream>

#include "cli/app.h"
#include "multus-adapter/nad_lint.h"

namespace vmlane::cli {
namespace {

constexpr std::string_view kNadExamples =
    "Examples:\n"
    "  vmlanectl nad lint networks.yaml\n"
    "  vmlanectl nad lint nads/ vms/ --strict\n"
    "  kubectl get network-attachment-definitions -A -o json | vmlanectl nad lint -";

struct LintArguments {
  std::vector<std::string> files;
  std::string conf_dir = "/etc/cni/net.d";
  bool strict = false;
};

Result<multus::ObjectStore> read_objects(const LintArguments& arguments, const Context& context) {
  constexpr std::string_view standard_input = "-";
  std::vector<std::filesystem::path> paths;
  for (const std::string& file : arguments.files) {
    if (file != standard_input) paths.emplace_back(file);
  }
  VMLANE_ASSIGN(multus::ObjectStore objects, multus::ObjectStore::load(paths));
  if (paths.size() == arguments.files.size()) return objects;
  VMLANE_ASSIGN(const std::string text, context.invocation.read_stdin());
  VMLANE_TRY(objects.add_text(text, "standard input"));
  return objects;
}

// "1 error", "2 errors".
std::string counted(std::ptrdiff_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

int lint_nads(const LintArguments& arguments, const Context& context) {
  const auto objects = read_objects(arguments, context);
  if (!objects) return context.failed(objects.error());
  if (objects->networks().empty() && objects->vms().empty())
    return context.failed(
        {Code::kNotFound, "there is no NetworkAttachmentDefinition and no virtual machine to look at",
         counted(static_cast<std::ptrdiff_t>(objects->ignored()), "object") + " of other kinds", nullptr});
  const auto problems = lint_objects(*objects, arguments.conf_dir);
  const auto errors =
      std::ranges::count(problems, multus::LintProblem::Severity::kError, &multus::LintProblem::severity);
  const auto warnings = static_cast<std::ptrdiff_t>(problems.size()) - errors;
  if (context.format == OutputFormat::kTable) {
    for (const auto& problem : problems) context.out() << problem.text() << "\n";
    context.out() << counted(static_cast<std::ptrdiff_t>(objects->networks().size()),
                             "NetworkAttachmentDefinition")
                  << ", " << counted(static_cast<std::ptrdiff_t>(objects->vms().size()), "virtual machine")
                  << ": " << counted(errors, "error") << ", " << counted(warnings, "warning") << std::endl;
  } else {
    Json rows = Json::array();
    for (const auto& problem : problems) rows.push_back(problem.to_json());
    context.out() << render_rows(context.format, {}, rows);
  }
  return errors == 0 && (warnings == 0 || !arguments.strict) ? 0 : kFailed;
}

}  // namespace

void add_nad_commands(CLI::App& app, Context& context) {
  CLI::App* group = app.add_subcommand("nad", "NetworkAttachmentDefinitions");
  group->require_subcommand(1);
  group->footer(std::string(kNadExamples));
  const auto arguments = std::make_shared<LintArguments>();
  CLI::App* lint = group->add_subcommand(
      "lint",
      "Tells what is wrong with networks, and with virtual machines on them, before a pod waits for them");
  lint->footer(std::string(kNadExamples));
  lint->add_option("FILE", arguments->files,
                   "files or directories with objects in YAML or JSON; -: standard input")
      ->required();
  lint->add_option(
          "--conf-dir", arguments->conf_dir,
          "where the node has the configurations of networks without spec.config (default: /etc/cni/net.d)")
      ->type_name("DIR");
  lint->add_flag("--strict", arguments->strict, "warnings make the command fail as errors do");
  add_output_option(*lint, context);
  lint->callback([arguments, &context] {
    context.run = [arguments, &context] { return lint_nads(*arguments, context); };
  });
}

}  // namespace vmlane::cli
