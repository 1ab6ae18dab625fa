// SPDX-License-Identifier: Apache-2.0
#include "core/node_config.h"

#include "core/files.h"
#include "core/json.h"
#include "core/names.h"

namespace vmlane {
namespace {

namespace fs = std::filesystem;

// Absolute, without "." or "..", a slash at its end or a NUL inside.
bool names_a_file(const fs::path& path) {
  return path.is_absolute() && path.has_filename() && path.lexically_normal() == path &&
         path.native().find('\0') == std::string::npos;
}

Result<> read_path(ObjectReader& reader, std::string_view key, fs::path& into) {
  VMLANE_ASSIGN(const auto text, reader.string(key));
  if (!text) return {};
  const fs::path path(*text);
  if (!names_a_file(path)) {
    return reader.wrong(key, "an absolute path without \"..\" or a slash at its end");
  }
  into = path;
  return {};
}

// A log must never break a call: a target that is no absolute path ("stdout", say) means no log, as one that
// cannot be written does.
Result<> read_log_file(ObjectReader& reader, NodeConfig& config) {
  VMLANE_ASSIGN(const auto text, reader.string("logFile"));
  if (text) config.log_file = names_a_file(*text) ? fs::path(*text) : fs::path();
  return {};
}

template <class Number>
Result<> read_number(ObjectReader& reader, std::string_view key, std::int64_t min, std::int64_t max,
                     Number& into) {
  VMLANE_ASSIGN(const auto value, reader.integer(key, min, max));
  if (value) into = static_cast<Number>(*value);
  return {};
}

Result<> read_logging(ObjectReader& reader, NodeConfig& config) {
  VMLANE_ASSIGN(const auto level, reader.string("logLevel"));
  if (level == "debug")
    config.log_level = LogLevel::kDebug;
  else if (level == "info" || !level)
    config.log_level = LogLevel::kInfo;
  else if (level == "warning")
    config.log_level = LogLevel::kWarning;
  else if (level == "error")
    config.log_level = LogLevel::kError;
  else
    return reader.wrong("logLevel", "debug, info, warning or error");
  VMLANE_ASSIGN(const auto format, reader.string("logFormat"));
  if (format == "json")
    config.log_format = LogFormat::kJson;
  else if (format && format != "text")
    return reader.wrong("logFormat", "text or json");
  return read_number(reader, "logMaxBytes", 4096, std::int64_t{1} << 40, config.log_max_bytes);
}

Result<> read_policy_default(ObjectReader& reader, NodeConfig& config) {
  VMLANE_ASSIGN(const auto word, reader.string("policyDefault"));
  if (!word) return {};
  const auto verdict = parse_policy_default(*word);
  if (!verdict) return reader.wrong("policyDefault", "auto, deny or allow");
  config.policy_default = *verdict;
  return {};
}

Result<> decode(const Json& json, NodeConfig& config) {
  if (!json.is_object()) return fail(Code::kInvalidConfig, "it is not a JSON object");
  ObjectReader reader(json, "", Code::kInvalidConfig);
  VMLANE_TRY(read_path(reader, "stateDir", config.state_dir));
  VMLANE_TRY(read_path(reader, "runDir", config.run_dir));
  VMLANE_TRY(read_path(reader, "bpfDir", config.bpf_dir));
  VMLANE_TRY(read_log_file(reader, config));
  VMLANE_TRY(read_path(reader, "bootIdFile", config.boot_id_file));
  constexpr std::int64_t kMaxId = 0xfffffffe;  // 2^32-1 means "no change" to chown
  VMLANE_TRY(read_number(reader, "ownerUid", 0, kMaxId, config.owner_uid));
  VMLANE_TRY(read_number(reader, "ownerGid", 0, kMaxId, config.owner_gid));
  VMLANE_TRY(read_number(reader, "switchUid", 0, kMaxId, config.switch_uid));
  VMLANE_TRY(read_number(reader, "vmlaneGid", 0, kMaxId, config.vmlane_gid));
  VMLANE_ASSIGN(const auto facts_timeout, reader.integer("podFactsTimeout", 0, 60000));
  if (facts_timeout) config.pod_facts_timeout = std::chrono::milliseconds(*facts_timeout);
  VMLANE_TRY(read_logging(reader, config));
  VMLANE_TRY(read_policy_default(reader, config));
  VMLANE_ASSIGN(const auto objects, reader.strings("objectPaths"));
  for (const std::string& path : objects.value_or(std::vector<std::string>())) {
    if (!fs::path(path).is_absolute()) return reader.wrong("objectPaths", "a list of absolute paths");
    config.object_paths.emplace_back(path);
  }
  const auto unknown = reader.unknown();
  if (!unknown.empty()) return fail(Code::kInvalidConfig, "unknown key \"" + unknown[0] + "\"");
  return {};
}

}  // namespace

std::optional<PolicyDefault> parse_policy_default(std::string_view word) {
  if (word == "auto") return PolicyDefault::kAuto;
  if (word == "deny") return PolicyDefault::kDeny;
  if (word == "allow") return PolicyDefault::kAllow;
  return std::nullopt;
}

Result<NodeConfig> load_node_config(const Invocation& invocation) {
  const std::string given = invocation.variable("VMLANE_CONFIG");
  const fs::path path = given.empty() ? fs::path(names::kDefaultNodeConfig) : fs::path(given);
  const std::string subject = "node config " + path.string();
  auto content = read_file(path);
  if (!content) return fail(content.error().wrap(subject));
  NodeConfig config;
  if (!*content) {
    if (!given.empty())
      return fail(Code::kInvalidConfig, subject + " does not exist", "VMLANE_CONFIG names it");
    return config;
  }
  VMLANE_ASSIGN(const Json json, parse_json(**content, subject));
  config.source = path;
  const auto decoded = decode(json, config);
  if (!decoded)
    return fail(decoded.error().code, subject + ": " + decoded.error().message, decoded.error().details);
  return config;
}

}  // namespace vmlane
