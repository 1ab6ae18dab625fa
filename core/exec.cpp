// SPDX-License-Identifier: Apache-2.0
#include "core/exec.h"

#include <optional>
#include <string>

#include "core/names.h"

namespace vmlane {
namespace {

namespace fs = std::filesystem;

// The error object of the CNI specification, if the text is one.
std::optional<Error> error_object(std::string_view text) {
  const auto json = parse_json(text, "plugin output");
  if (!json || !json->is_object()) return std::nullopt;
  const auto code = json->find("code");
  const auto message = json->find("msg");
  if (code == json->end() || !code->is_number_unsigned() || message == json->end() || !message->is_string())
    return std::nullopt;
  const auto details = json->find("details");
  const bool has_details = details != json->end() && details->is_string();
  return Error{static_cast<Code>(code->get<unsigned>()), message->get<std::string>(),
               has_details ? details->get<std::string>() : std::string(), nullptr};
}

Error plugin_failure(const fs::path& program, const Process::Ended& ended) {
  if (auto object = error_object(ended.output)) return *object;
  const std::string failed = "plugin " + program.string() + " " + ended.text();
  const std::string printed = excerpt(ended.output);
  if (!printed.empty())
    return Error{Code::kDelegate, failed + " and its output is no CNI error object", printed, nullptr};
  const std::string log = excerpt(ended.error);
  return Error{Code::kDelegate, failed + " without an error object",
               log.empty() ? "it wrote nothing to stderr either" : log, nullptr};
}

}  // namespace

Result<fs::path> find_plugin(std::string_view cni_path, std::string_view type) {
  VMLANE_TRY(names::check_plugin_type(type, "plugin type", Code::kInvalidConfig));
  std::string searched;
  while (!cni_path.empty()) {
    const auto colon = cni_path.find(':');
    const std::string_view directory = cni_path.substr(0, colon);
    cni_path.remove_prefix(colon == std::string_view::npos ? cni_path.size() : colon + 1);
    if (directory.empty()) continue;
    const fs::path program = fs::path(directory) / type;
    if (is_program(program)) return program;
    searched += (searched.empty() ? "" : ", ") + std::string(directory);
  }
  return fail(Code::kInvalidConfig, "plugin \"" + std::string(type) + "\" was not found",
              searched.empty() ? "CNI_PATH names no directory"
                               : "searched for an executable file of that name in " + searched);
}

Result<RunningPlugin> RunningPlugin::start(const fs::path& program, const Environment& env,
                                           std::string_view input, InheritedFd inherited) {
  VMLANE_ASSIGN(Process process, Process::start({.noun = "plugin",
                                                 .program = program,
                                                 .arguments = {},
                                                 .env = env,
                                                 .input = input,
                                                 .inherited = inherited,
                                                 .pass_errors_on = true}));
  return RunningPlugin(program, std::move(process));
}

Result<std::string> RunningPlugin::finish(const ExecLimits& limits) {
  VMLANE_ASSIGN(Process::Ended ended, process_.finish(limits));
  if (ended.ok()) return std::move(ended.output);
  return fail(plugin_failure(program_, ended));
}

Result<std::string> run_plugin(const fs::path& program, const Environment& env, std::string_view input,
                               const ExecLimits& limits, InheritedFd inherited) {
  VMLANE_ASSIGN(RunningPlugin running, RunningPlugin::start(program, env, input, inherited));
  return running.finish(limits);
}

Result<Json> parse_plugin_result(std::string_view output, std::string_view type) {
  const std::string subject = "result of plugin \"" + std::string(type) + "\"";
  auto result = parse_json(output, subject);
  if (!result)
    return fail(Code::kDelegate, result.error().message, "the plugin ended with status 0 but gave no result");
  if (!result->is_object()) return fail(Code::kDelegate, subject + " is no JSON object", excerpt(output));
  return result;
}

Result<> ProcessExec::find(const std::string& cni_path, const std::string& type) {
  VMLANE_TRY(find_plugin(cni_path, type));
  return {};
}

Result<std::string> ProcessExec::run(const PluginCall& call) {
  const auto path = call.env.find("CNI_PATH");
  VMLANE_ASSIGN(const fs::path program, find_plugin(path == call.env.end() ? "" : path->second, call.type));
  return run_plugin(program, call.env, call.input, limits_);
}

}  // namespace vmlane
