// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "core/error.h"
#include "core/exec.h"
#include "core/json.h"
#include "multus-adapter/pod_state.h"

// Runs the plugins of one attachment as the CNI specification's runtime does (section 3). Internal to this
// room.
namespace vmlane::multus {

// What all calls of a sandbox share.
struct ChainContext {
  PluginExec& exec;
  const Environment& env;  // the caller's own; CNI_* are overridden
  std::string cni_path;
  std::string container_id;
  std::string netns;
};

// ADD in order, each plugin with the result of the one before; the last one's result. Errors name network,
// interface and plugin.
Result<Json> add_chain(const ChainContext& context, const AttachmentState& attachment);
// DEL in reverse. Goes on after an error, so that one plugin does not keep the others' things alive; the
// errors in one.
Result<> del_chain(const ChainContext& context, const AttachmentState& attachment);
// CHECK in order.
Result<> check_chain(const ChainContext& context, const AttachmentState& attachment);
// GC of every plugin with the list of attachments that are alive.
Result<> gc_chain(const ChainContext& context, const AttachmentState& attachment,
                  const Json& valid_attachments);
// STATUS in order.
Result<> status_chain(const ChainContext& context, const AttachmentState& attachment);

}  // namespace vmlane::multus
