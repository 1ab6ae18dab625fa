// SPDX-License-Identifier: Apache-2.0
#include "cni/recorded_call.h"

#include "cni/result.h"
#include "cni/version.h"

namespace vmlane::cni {
namespace {

Result<RecordedCall> recorded_call(const char* command, const Environment& caller,
                                   const AttachmentRecord& record, const std::string& cni_path) {
  const std::string path = cni_path.empty() ? record.cni_path : cni_path + ":" + record.cni_path;
  VMLANE_ASSIGN(auto program, find_plugin(path, record.plugin));
  Environment env = caller;
  env.erase("VMLANE_FAULT");
  env["CNI_COMMAND"] = command;
  env["CNI_CONTAINERID"] = record.key.container_id;
  env["CNI_NETNS"] = record.netns.path;
  env["CNI_IFNAME"] = record.key.ifname;
  env["CNI_ARGS"] = record.cni_args;
  env["CNI_PATH"] = path;
  return RecordedCall{std::move(program), std::move(env), to_text(record.netconf)};
}

}  // namespace

Result<RecordedCall> recorded_delete(const Environment& caller, const AttachmentRecord& record,
                                     const std::string& cni_path) {
  return recorded_call("DEL", caller, record, cni_path);
}

Result<RecordedCall> recorded_check(const Environment& caller, const AttachmentRecord& record) {
  VMLANE_ASSIGN(RecordedCall call, recorded_call("CHECK", caller, record, {}));
  VMLANE_ASSIGN(const CniResult result,
                CniResult::from_json(record.result, kNewestVersion, "recorded result"));
  Json config = record.netconf;
  const auto own = Version::parse(config.value("cniVersion", ""));
  const Version version = own && *own >= kCheckSince ? *own : kCheckSince;
  config["cniVersion"] = version.to_string();
  config["prevResult"] = result.to_json(version);
  call.input = to_text(config);
  return call;
}

}  // namespace vmlane::cni
