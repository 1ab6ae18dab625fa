// SPDX-License-Identifier: Apache-2.0
#include "cni/protocol.h"

#include <algorithm>
#include <array>
#include <ostream>
#include <vector>

#include "core/names.h"

namespace vmlane::cni {
namespace {

// An environment variable of the protocol, the operations that require it, and how its value is judged.
struct Variable {
  const char* name;
  std::vector<Command> required_by;
  Result<> (*check)(const std::string& value);
};

Result<> accept_any(const std::string&) {
  return {};
}
Result<> check_container_id(const std::string& value) {
  return names::check_identifier(value, "CNI_CONTAINERID", Code::kBadEnvironment);
}
Result<> check_ifname(const std::string& value) {
  return names::check_link_name(value, "CNI_IFNAME", Code::kBadEnvironment);
}

const std::vector<Variable>& variables() {
  using enum Command;
  static const std::vector<Variable> list = {
      {"CNI_CONTAINERID", {kAdd, kCheck, kDel}, check_container_id},
      {"CNI_NETNS", {kAdd, kCheck}, accept_any},
      {"CNI_IFNAME", {kAdd, kCheck, kDel}, check_ifname},
      {"CNI_PATH", {kAdd, kCheck, kDel, kGc, kStatus}, accept_any},
  };
  return list;
}

Result<Command> parse_command(const std::string& text) {
  for (const Command command :
       {Command::kAdd, Command::kDel, Command::kCheck, Command::kGc, Command::kStatus, Command::kVersion}) {
    if (text == to_string(command)) return command;
  }
  return fail(Code::kBadEnvironment, "unknown CNI_COMMAND: " + text.substr(0, 40));
}

// A malformed value wins over variables that are missing, as in the skeleton; missing ones are told all at
// once.
Result<> check_environment(const Invocation& invocation, Command command) {
  std::string missing;
  for (const Variable& variable : variables()) {
    if (std::ranges::find(variable.required_by, command) == variable.required_by.end()) continue;
    const std::string value = invocation.variable(variable.name);
    if (value.empty()) {
      missing += (missing.empty() ? "" : ",") + std::string(variable.name);
      continue;
    }
    VMLANE_TRY(variable.check(value));
  }
  if (!missing.empty())
    return fail(Code::kBadEnvironment, "required env variables [" + missing + "] missing");
  return {};
}

Result<std::string> network_name(const Json& config) {
  ObjectReader reader(config, "", Code::kInvalidConfig);
  VMLANE_ASSIGN(const auto name, reader.string("name"));
  if (!name || name->empty())
    return fail(Code::kInvalidConfig, "missing network name", "the config needs a key \"name\"");
  VMLANE_TRY(names::check_identifier(*name, "network name", Code::kInvalidConfig));
  return *name;
}

std::string supported_list() {
  std::string list;
  for (const std::string_view version : kSupportedVersions)
    list += (list.empty() ? "" : " ") + std::string(version);
  return list;
}

Result<> check_version(Command command, const Version& version) {
  const Version since = command == Command::kCheck ? kCheckSince : kGcSince;
  const bool newer_operation =
      command == Command::kCheck || command == Command::kGc || command == Command::kStatus;
  const std::string operation(to_string(command));
  if (newer_operation && version < since) {
    return fail(
        Code::kIncompatibleVersion, "config version does not allow " + operation,
        "config is \"" + version.to_string() + "\", " + operation + " came with " + since.to_string());
  }
  if (newer_operation && version > kNewestVersion)
    return fail(Code::kIncompatibleVersion, "plugin version does not allow " + operation);
  // A pod that an older config made must still be removable.
  const bool old_del = command == Command::kDel && version < kOldestSupported;
  if (is_supported(version) || old_del) return {};
  return fail(Code::kIncompatibleVersion, "incompatible CNI versions",
              "config is \"" + version.to_string() + "\", plugin supports [" + supported_list() + "]");
}

Result<> read_config(const Invocation& invocation, Request& request) {
  VMLANE_ASSIGN(const std::string text, invocation.read_stdin());
  VMLANE_ASSIGN(request.config, parse_json(text, "network config on standard input"));
  if (!request.config.is_object())
    return fail(Code::kDecode, "network config on standard input is not a JSON object");
  ObjectReader reader(request.config, "", Code::kDecode);
  VMLANE_ASSIGN(const auto version, reader.string("cniVersion"));
  VMLANE_ASSIGN(request.key.network, network_name(request.config));
  VMLANE_ASSIGN(request.version, Version::parse(version.value_or("")));
  return check_version(request.command, request.version);
}

// DEL works from the record and must not fail over arguments or a result that it can do without.
Result<> read_arguments(Request& request) {
  auto args = parse_cni_args(request.cni_args);
  if (args)
    request.args = std::move(*args);
  else if (request.command == Command::kAdd || request.command == Command::kCheck)
    return std::unexpected(args.error());
  return {};
}

Result<> read_prev_result(Request& request) {
  const auto it = request.config.find("prevResult");
  const bool given = it != request.config.end() && !it->is_null();
  if (!given) {
    if (request.command == Command::kCheck)
      return fail(Code::kInvalidConfig, "missing prevResult",
                  "CHECK needs the result of ADD under the key \"prevResult\"");
    return {};
  }
  auto result = CniResult::from_json(*it, request.version, "prevResult");
  if (result)
    request.prev_result = std::move(*result);
  else if (request.command != Command::kDel)
    return std::unexpected(result.error());
  return {};
}

Result<> read_request(const Invocation& invocation, Request& request) {
  request.key.container_id = invocation.variable("CNI_CONTAINERID");
  request.key.ifname = invocation.variable("CNI_IFNAME");
  VMLANE_TRY(check_environment(invocation, request.command));
  request.netns = invocation.variable("CNI_NETNS");
  request.cni_path = invocation.variable("CNI_PATH");
  request.cni_args = invocation.variable("CNI_ARGS");
  VMLANE_TRY(read_config(invocation, request));
  VMLANE_TRY(read_arguments(request));
  return read_prev_result(request);
}

Result<std::string> perform(const Invocation& invocation, const Plugin& plugin, Request& request) {
  VMLANE_ASSIGN(request.command, parse_command(invocation.variable("CNI_COMMAND")));
  if (request.command == Command::kVersion) {
    return to_text({{"cniVersion", kNewestVersion.to_string()}, {"supportedVersions", kSupportedVersions}}) +
           "\n";
  }
  VMLANE_TRY(read_request(invocation, request));
  switch (request.command) {
    case Command::kAdd: {
      VMLANE_ASSIGN(const CniResult result, plugin.add(request));
      return to_text(result.to_json(request.version)) + "\n";
    }
    case Command::kDel:
      VMLANE_TRY(plugin.del(request));
      break;
    case Command::kCheck:
      VMLANE_TRY(plugin.check(request));
      break;
    case Command::kGc:
      VMLANE_TRY(plugin.gc(request));
      break;
    case Command::kStatus:
      VMLANE_TRY(plugin.status(request));
      break;
    case Command::kVersion:
      break;
  }
  return std::string();
}

Json error_object(const Error& error, const Version& version) {
  Json json = {{"cniVersion", version.to_string()},
               {"code", static_cast<unsigned>(error.code)},
               {"msg", error.message}};
  std::string details = error.details;
  if (error.cause) details += (details.empty() ? "" : "; ") + error.cause->text();
  if (!details.empty()) json["details"] = details;
  return json;
}

}  // namespace

int run(const Invocation& invocation, const Plugin& plugin) {
  if (invocation.variable("CNI_COMMAND").empty()) {
    *invocation.err << plugin.name << ": " << plugin.about << "\nCNI protocol versions supported: ";
    for (const std::string_view version : kSupportedVersions)
      *invocation.err << (version == kSupportedVersions.front() ? "" : ", ") << version;
    *invocation.err << "\n";
    return 0;
  }
  Request request;
  request.version = kNewestVersion;  // until the config says another
  request.invocation = invocation;
  const auto start = std::chrono::steady_clock::now();
  const auto output = perform(invocation, plugin, request);
  if (plugin.report && !(output && request.command == Command::kVersion)) {
    plugin.report(
        request, output ? nullptr : &output.error(),
        std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start));
  }
  if (output) {
    *invocation.out << *output << std::flush;
    return 0;
  }
  const Version version = is_supported(request.version) ? request.version : kNewestVersion;
  *invocation.out << to_text(error_object(output.error(), version)) << "\n" << std::flush;
  return 1;
}

}  // namespace vmlane::cni
