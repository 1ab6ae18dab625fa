// SPDX-License-Identifier: Apache-2.0
#include "cni/lane.h"

#include <chrono>

#include "cni/attach.h"
#include "cni/detach.h"
#include "cni/directories.h"
#include "cni/ipam.h"
#include "cni/operation_log.h"
#include "cni/protocol.h"
#include "cni/session.h"

namespace vmlane::cni {
namespace {

Result<> report_status(const Session& session, Lane& lane, const Request& request) {
  VMLANE_TRY(configure(lane, request, session.node));
  VMLANE_TRY(check_directories(session.config, session.config.attachments_dir()));
  VMLANE_TRY(lane.status(request, session.node));
  VMLANE_ASSIGN(const Ipam ipam, Ipam::parse(request.config));
  if (!ipam.enabled()) return {};
  return ipam.status(
      {request.key, "", request.cni_args, request.cni_path, request.config, session.env, {}, -1});
}

template <class T>
std::function<Result<T>(const Request&)> operation(Lane& lane, Kernel& kernel,
                                                   Result<T> (*work)(const Session&, Lane&, const Request&)) {
  return [&lane, &kernel, work](const Request& request) -> Result<T> {
    VMLANE_ASSIGN(const auto session, Session::open(request, lane.type(), kernel));
    return work(*session, lane, request);
  };
}

}  // namespace

std::unexpected<Error> changed(const std::string& what, const std::string& is, const std::string& was) {
  return fail(Code::kChanged, what + " is " + is + ", ADD set " + was);
}

Result<> Lane::take_down(const Attachment& attachment) const {
  Transaction steps(attachment.node.log, FaultPoint());
  const Reclaim all{attachment.node, attachment.record.key, &attachment.record,
                    attachment.host, &attachment.pod,       steps};
  VMLANE_TRY(silence(all));
  return reclaim(all);
}

Result<> configure(Lane& lane, const Request& request, const Node& node) {
  VMLANE_ASSIGN(const ConfigKeys keys, lane.configure(request, node.config));
  for (const std::string& key : keys.unknown) node.log.warning("unknown key in the config", {{"key", key}});
  return {};
}

int run_lane(const Invocation& invocation, Lane& lane, Kernel& kernel) {
  Plugin plugin;
  plugin.name = lane.type();
  plugin.about = lane.about();
  plugin.add = operation<CniResult>(lane, kernel, attach);
  plugin.del = operation<void>(lane, kernel, detach);
  plugin.check = operation<void>(lane, kernel, check_attachment);
  plugin.gc = operation<void>(lane, kernel, collect_garbage);
  plugin.status = operation<void>(lane, kernel, report_status);
  plugin.report = [&lane](const Request& request, const Error* error, std::chrono::microseconds took) {
    log_operation(request, lane.type(), log_context(request), error, took);
  };
  return run(invocation, plugin);
}

}  // namespace vmlane::cni
