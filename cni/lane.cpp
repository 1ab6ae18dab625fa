// SPDX-License-Identifier: Apache-2.0
#include "cni/lane.h"

#include <chrono>

#include "cni/attach.h"
#include "cni/detach.h"
#include "cni/ipam.h"
#include "cni/protocol.h"
#include "cni/session.h"
#include "core/files.h"

namespace vmlane::cni {
namespace {

Result<> report_status(const Session& session, Lane& lane, const Request& request) {
  VMLANE_TRY(lane.configure(request, session.node));
  const auto writable =
      make_directory(session.config.attachments_dir(), {.mode = 0750, .group = session.config.vmlane_gid});
  if (!writable) {
    return fail(Code::kNotAvailable, "the state directory cannot be used: " + writable.error().message,
                "make " + session.config.state_dir.string() + " writable");
  }
  VMLANE_TRY(lane.status(request, session.node));
  VMLANE_ASSIGN(const Ipam ipam, Ipam::parse(request.config));
  if (!ipam.enabled()) return {};
  return ipam.status(
      {request.key, "", request.cni_args, request.cni_path, request.config, session.env, {}, -1});
}

// One log line for each operation, with how long it took and how it ended.
template <class T>
Result<T> logged(const Session& session, const std::function<Result<T>()>& operation) {
  const auto start = std::chrono::steady_clock::now();
  auto result = operation();
  const auto took =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start).count();
  Log::Fields fields = {{"us", std::to_string(took)}};
  if (result) {
    session.log.info("done", fields);
  } else {
    fields.emplace_back("code", std::to_string(static_cast<unsigned>(result.error().code)));
    fields.emplace_back("error", result.error().text());
    session.log.error("failed", fields);
  }
  return result;
}

template <class T>
std::function<Result<T>(const Request&)> operation(Lane& lane, Kernel& kernel,
                                                   Result<T> (*work)(const Session&, Lane&, const Request&)) {
  return [&lane, &kernel, work](const Request& request) -> Result<T> {
    VMLANE_ASSIGN(const auto session, Session::open(request, lane.type(), kernel));
    return logged<T>(*session, [&] { return work(*session, lane, request); });
  };
}

}  // namespace

int run_lane(const Invocation& invocation, Lane& lane, Kernel& kernel) {
  Plugin plugin;
  plugin.name = lane.type();
  plugin.about = lane.about();
  plugin.add = operation<CniResult>(lane, kernel, attach);
  plugin.del = operation<void>(lane, kernel, detach);
  plugin.check = operation<void>(lane, kernel, check_attachment);
  plugin.gc = operation<void>(lane, kernel, collect_garbage);
  plugin.status = operation<void>(lane, kernel, report_status);
  return run(invocation, plugin);
}

}  // namespace vmlane::cni
