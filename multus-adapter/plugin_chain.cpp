// SPDX-License-Identifier: Apache-2.0
#include "multus-adapter/plugin_chain.h"

#include <ranges>

namespace vmlane::multus {
namespace {

// Where a failure was, before the plugin's own words; its code and details stay.
Error in_plugin(const Error& error, const AttachmentState& attachment, const std::string& type) {
  std::string where = "network " + attachment.nad;
  if (!attachment.ifname.empty()) where += ", interface " + attachment.ifname;
  return Error{error.code, where + ", plugin " + type + ": " + error.message, error.details, error.cause};
}

PluginCall call_of(const ChainContext& context, const AttachmentState& attachment, const std::string& command,
                   const Json& input) {
  PluginCall call{.type = input["type"].get<std::string>(), .env = context.env, .input = to_text(input)};
  call.env["CNI_COMMAND"] = command;
  call.env["CNI_CONTAINERID"] = context.container_id;
  call.env["CNI_NETNS"] = context.netns;
  call.env["CNI_IFNAME"] = attachment.ifname;
  call.env["CNI_ARGS"] = attachment.cni_args;
  call.env["CNI_PATH"] = context.cni_path;
  return call;
}

Result<std::string> run(const ChainContext& context, const AttachmentState& attachment,
                        const std::string& command, const Json& input) {
  const PluginCall call = call_of(context, attachment, command, input);
  auto output = context.exec.run(call);
  if (!output) return fail(in_plugin(output.error(), attachment, call.type));
  return output;
}

Json with_result(Json input, const Json& result) {
  if (!result.is_null()) input["prevResult"] = result;
  return input;
}

}  // namespace

Result<Json> add_chain(const ChainContext& context, const AttachmentState& attachment) {
  Json result;
  for (const Json& input : attachment.inputs) {
    VMLANE_ASSIGN(const std::string output, run(context, attachment, "ADD", with_result(input, result)));
    const std::string type = input["type"].get<std::string>();
    auto parsed = parse_plugin_result(output, type);
    if (!parsed) return fail(in_plugin(parsed.error(), attachment, type));
    result = std::move(*parsed);
  }
  return result;
}

Result<> del_chain(const ChainContext& context, const AttachmentState& attachment) {
  std::vector<Error> errors;
  for (const Json& input : std::views::reverse(attachment.inputs)) {
    const auto output = run(context, attachment, "DEL", with_result(input, attachment.result));
    if (!output) errors.push_back(output.error());
  }
  return joined(errors, "DEL");
}

Result<> check_chain(const ChainContext& context, const AttachmentState& attachment) {
  for (const Json& input : attachment.inputs) {
    VMLANE_TRY(run(context, attachment, "CHECK", with_result(input, attachment.result)));
  }
  return {};
}

Result<> gc_chain(const ChainContext& context, const AttachmentState& attachment,
                  const Json& valid_attachments) {
  std::vector<Error> errors;
  for (Json input : attachment.inputs) {
    // Both spellings, as libcni: the second is the name in the specification's first text of 1.1.
    input["cni.dev/valid-attachments"] = valid_attachments;
    input["cni.dev/attachments"] = valid_attachments;
    const auto output = run(context, attachment, "GC", input);
    if (!output) errors.push_back(output.error());
  }
  return joined(errors, "GC");
}

Result<> status_chain(const ChainContext& context, const AttachmentState& attachment) {
  for (const Json& input : attachment.inputs) VMLANE_TRY(run(context, attachment, "STATUS", input));
  return {};
}

}  // namespace vmlane::multus
