// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/json.h"
#include "core/process.h"

// Running another CNI plugin: an IPAM plugin for a lane plugin, a delegate for vmlane-multus. Follows the CNI
// specification 1.1.0, "Plugin Delegation": configuration on stdin, parameters in the environment, result or
// error object on stdout, log text on stderr.
namespace vmlane {

// The program of plugin `type`: the first regular executable file of that name in the directories of
// `cni_path` (colon-separated). `type` must be a safe identifier (Code::kInvalidConfig). Not found is
// Code::kInvalidConfig naming the type and every directory searched.
Result<std::filesystem::path> find_plugin(std::string_view cni_path, std::string_view type);

// Runs the program with exactly this environment and standard input and gives its standard output once it
// ends with status 0. What it writes to stderr is passed on to ours. Errors: a failing plugin's error object
// with the code, message and details the plugin gave; without one Code::kDelegate naming the program and
// quoting its stderr or the output that is no error object. Code::kTryAgain when it ran into the time limit
// (it and its process group are killed), Code::kDelegate when it wrote more than the limit.
Result<std::string> run_plugin(const std::filesystem::path& program, const Environment& env,
                               std::string_view input, const ExecLimits& limits = {},
                               InheritedFd inherited = -1);

// The same in two halves, for what can be done while the plugin works. Destroyed without finish() it kills
// the plugin and its process group.
class RunningPlugin {
 public:
  static Result<RunningPlugin> start(const std::filesystem::path& program, const Environment& env,
                                     std::string_view input, InheritedFd inherited = -1);

  // Readable once it has ended.
  int fd() const { return process_.fd(); }
  // Waits for its end; the time of `limits` counts from the call. What run_plugin gives.
  Result<std::string> finish(const ExecLimits& limits = {});

 private:
  RunningPlugin(std::filesystem::path program, Process process)
      : program_(std::move(program)), process_(std::move(process)) {}

  std::filesystem::path program_;
  Process process_;
};

// The result object on a plugin's standard output after ADD. Empty or other text is an error: exit status 0
// alone is no success.
Result<Json> parse_plugin_result(std::string_view output, std::string_view type);

// One call of a plugin. `env` is complete: CNI_COMMAND, CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_ARGS,
// CNI_PATH, and what else the plugin may need of the caller's (PATH, VMLANE_CONFIG). The program is searched
// in its CNI_PATH.
struct PluginCall {
  std::string type;
  Environment env;
  std::string input;  // the configuration, JSON text
};

// The seam through which plugins are run, so that a test can stand in for them.
class PluginExec {
 public:
  virtual ~PluginExec() = default;
  // Whether the plugin could be run: its program is found. For checks before anything is made.
  virtual Result<> find(const std::string& cni_path, const std::string& type) = 0;
  // Standard output of the plugin.
  virtual Result<std::string> run(const PluginCall& call) = 0;
};

// Runs real programs.
class ProcessExec final : public PluginExec {
 public:
  explicit ProcessExec(ExecLimits limits = {}) : limits_(limits) {}
  Result<> find(const std::string& cni_path, const std::string& type) override;
  Result<std::string> run(const PluginCall& call) override;

 private:
  ExecLimits limits_;
};

}  // namespace vmlane
