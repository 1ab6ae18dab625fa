// SPDX-License-Identifier: Apache-2.0
#include "cni/ipam.h"

#include <chrono>

#include "cni/request.h"
#include "core/exec.h"
#include "core/names.h"

namespace vmlane::cni {
namespace {

// kubelet gives a whole sandbox four minutes; an allocator that talks to an API server may need a good part
// of one.
constexpr ExecLimits kLimits{.timeout = std::chrono::seconds(60)};

// CNI_ARGS for a delegate. Ours may hold keys that only we, or nobody, know, and the Go plugins refuse those
// unless told to ignore them; what cannot be read at all must not keep a DEL from releasing addresses.
std::string delegate_args(const std::string& cni_args) {
  const auto args = parse_cni_args(cni_args);
  if (!args) return {};
  std::string out = "IgnoreUnknown=1";
  for (const auto& [key, value] : *args) {
    if (key != "IgnoreUnknown") out += ";" + key + "=" + value;
  }
  return out;
}

Environment environment_of(const Ipam::Caller& caller, std::string_view command) {
  Environment env = caller.env;
  env["CNI_COMMAND"] = command;
  env["CNI_CONTAINERID"] = caller.key.container_id;
  env["CNI_NETNS"] = caller.netns;
  env["CNI_IFNAME"] = caller.key.ifname;
  env["CNI_ARGS"] = delegate_args(caller.cni_args);
  env["CNI_PATH"] = caller.cni_path;
  return env;
}

// The newest version that both we and the delegate know.
Result<Version> newest_common_version(const std::filesystem::path& plugin, const Ipam::Caller& caller) {
  VMLANE_ASSIGN(const std::string answer,
                run_plugin(plugin, environment_of(caller, "VERSION"),
                           to_text({{"cniVersion", kNewestVersion.to_string()}}), kLimits));
  VMLANE_ASSIGN(const Json json, parse_json(answer, "answer of " + plugin.string() + " to VERSION"));
  ObjectReader reader(json, "supportedVersions of " + plugin.string() + ": ", Code::kDelegate);
  VMLANE_ASSIGN(const auto versions, json.is_object()
                                         ? reader.strings("supportedVersions")
                                         : reader.wrong("supportedVersions", "a list of versions"));
  std::optional<Version> newest;
  for (const std::string& text : versions.value_or(std::vector<std::string>())) {
    const auto version = Version::parse(text);
    if (version && is_supported(*version) && (!newest || *version > *newest)) newest = *version;
  }
  if (newest) return *newest;
  return fail(Code::kIncompatibleVersion,
              "IPAM plugin " + plugin.string() + " knows no CNI version from 0.3.0 to 1.1.0");
}

// The delegate's stdin in a version it may know better. A prevResult has to follow: a plugin reads it by the
// config's version.
Json config_in_version(const Json& config, const Version& version) {
  Json out = config;
  out["cniVersion"] = version.to_string();
  if (config.contains("prevResult")) {
    const auto result = CniResult::from_json(config["prevResult"], version, "prevResult");
    if (result) out["prevResult"] = result->to_json(version);
  }
  return out;
}

}  // namespace

Result<Ipam> Ipam::parse(const Json& config) {
  Ipam ipam;
  ObjectReader reader(config, "", Code::kInvalidConfig);
  VMLANE_ASSIGN(const Json* section, reader.object("ipam"));
  if (section == nullptr || section->empty()) return ipam;
  ObjectReader keys(*section, "ipam.", Code::kInvalidConfig);
  VMLANE_ASSIGN(const auto type, keys.string("type"));
  if (!type) return keys.wrong("type", "the name of an IPAM plugin");
  VMLANE_TRY(names::check_plugin_type(*type, "key \"ipam.type\"", Code::kInvalidConfig));
  ipam.type_ = *type;
  return ipam;
}

Ipam::Caller Ipam::caller_of(const AttachmentRecord& record, const Environment& env) {
  return {record.key,          record.netns.path,
          record.cni_args,     record.cni_path,
          record.netconf,      env,
          record.ipam_version, -1};
}

Result<> Ipam::find(const Caller& caller) const {
  VMLANE_TRY(find_plugin(caller.cni_path, type_));
  return {};
}

Result<Ipam::Pending> Ipam::start(const Caller& caller, std::string_view command) const {
  VMLANE_ASSIGN(auto plugin, find_plugin(caller.cni_path, type_));
  Json config = caller.config;
  if (!caller.version.empty()) {
    VMLANE_ASSIGN(const Version version, Version::parse(caller.version));
    config = config_in_version(config, version);
  }
  VMLANE_ASSIGN(RunningPlugin running,
                RunningPlugin::start(plugin, environment_of(caller, command), to_text(config), caller.lock));
  return Pending{caller, std::string(command), std::move(plugin), std::move(running)};
}

Result<std::string> Ipam::finish(Pending& pending) const {
  auto answer = pending.running.finish(kLimits);
  if (answer || answer.error().code != Code::kIncompatibleVersion) return answer;
  VMLANE_ASSIGN(const Version version, newest_common_version(pending.plugin, pending.caller));
  pending.caller.version = version.to_string();
  return run_plugin(pending.plugin, environment_of(pending.caller, pending.command),
                    to_text(config_in_version(pending.caller.config, version)), kLimits, pending.caller.lock);
}

Result<std::string> Ipam::call(const Caller& caller, std::string_view command) const {
  VMLANE_ASSIGN(Pending pending, start(caller, command));
  return finish(pending);
}

Result<Ipam::Allocation> Ipam::finish_add(Pending pending) const {
  const auto decoded = [&]() -> Result<Allocation> {
    VMLANE_ASSIGN(const std::string answer, finish(pending));
    const std::string what = "result of IPAM plugin " + type_;
    VMLANE_ASSIGN(const Json json, parse_json(answer, what));
    VMLANE_ASSIGN(CniResult result, CniResult::from_json(json, kNewestVersion, what));
    if (result.ips.empty()) return fail(Code::kDelegate, "IPAM plugin " + type_ + " returned no address");
    return Allocation{std::move(result), pending.caller.version};
  }();
  // A delegate that took one family and failed at the other, or was killed, may hold addresses. Its own error
  // counts, not this one's.
  if (!decoded) [[maybe_unused]]
    const auto released = del(pending.caller);
  return decoded;
}

Result<> Ipam::finish_del(Pending pending) const {
  VMLANE_TRY(finish(pending));
  return {};
}

Result<Ipam::Allocation> Ipam::add(const Caller& caller) const {
  VMLANE_ASSIGN(Pending pending, start(caller, "ADD"));
  return finish_add(std::move(pending));
}

Result<> Ipam::del(const Caller& caller) const {
  VMLANE_ASSIGN(Pending pending, start(caller, "DEL"));
  return finish_del(std::move(pending));
}

Result<> Ipam::check(const Caller& caller) const {
  VMLANE_TRY(call(caller, "CHECK"));
  return {};
}

Result<> Ipam::call_if_known(const Caller& caller, std::string_view command) const {
  VMLANE_ASSIGN(const auto plugin, find_plugin(caller.cni_path, type_));
  VMLANE_ASSIGN(const Version version, newest_common_version(plugin, caller));
  if (version < kGcSince) return {};
  VMLANE_TRY(call(caller, command));
  return {};
}

Result<> Ipam::gc(const Caller& caller) const {
  return call_if_known(caller, "GC");
}

Result<> Ipam::status(const Caller& caller) const {
  const auto found = find(caller);
  if (!found) return fail(Code::kNotAvailable, found.error().message, found.error().details);
  return call_if_known(caller, "STATUS");
}

}  // namespace vmlane::cni
