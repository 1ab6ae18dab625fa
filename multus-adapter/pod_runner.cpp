// SPDX-License-Identifier: Apache-2.0
#include "multus-adapter/pod_runner.h"

#include <algorithm>
#include <functional>
#include <future>
#include <optional>
#include <ranges>

#include "cni/version.h"
#include "core/files.h"
#include "core/lock.h"
#include "multus-adapter/default_route.h"
#include "multus-adapter/lane_types.h"
#include "multus-adapter/plugin_chain.h"
#include "multus-adapter/pod_files.h"
#include "multus-adapter/pod_plan.h"

namespace vmlane::multus {
namespace {

std::vector<Attachment> attachments_of(const PodState& state) {
  std::vector<Attachment> attachments;
  for (const AttachmentState& attachment : state.attachments) {
    attachments.push_back(
        {attachment.nad, attachment.network, attachment.ifname, attachment.is_default, attachment.result});
  }
  return attachments;
}

// None of the names may be taken, or a plugin's undo might remove what is somebody else's.
Result<> check_free_names(netlink::Netlink& pod, const std::vector<PlannedAttachment>& plan) {
  for (const PlannedAttachment& planned : plan) {
    VMLANE_ASSIGN(const auto link, pod.find_link(planned.state.ifname));
    if (!link) continue;
    return fail(Code::kConflict,
                "the pod has an interface \"" + planned.state.ifname + "\" already, so network " +
                    planned.state.nad + " cannot be attached under that name",
                "nothing was changed");
  }
  return {};
}

// Whether an attachment needs none of the others. Other projects' plugins may build on interfaces that were
// made before, as a bond or a VLAN inside the pod does; the lanes of this project do not.
bool stands_alone(const AttachmentState& attachment) {
  return std::ranges::all_of(attachment.plugins, [](const Json& plugin) {
    const auto type = plugin.find("type");
    return type != plugin.end() && type->is_string() && is_lane(type->get_ref<const std::string&>());
  });
}

// The attachments in their order, those that can be worked on at the same time together.
std::vector<std::vector<std::size_t>> in_groups(const std::vector<AttachmentState>& attachments) {
  std::vector<std::vector<std::size_t>> groups;
  bool joins = false;
  for (std::size_t i = 0; i < attachments.size(); i++) {
    const bool alone = stands_alone(attachments[i]);
    if (!alone || !joins) groups.emplace_back();
    groups.back().push_back(i);
    joins = alone;
  }
  return groups;
}

// Runs `work` for each member, each in a thread of its own. The time of an ADD or DEL is the kernel's and the
// plugins', who wait for each other where they must.
template <class T>
std::vector<Result<T>> at_once(const std::vector<std::size_t>& group,
                               const std::function<Result<T>(std::size_t)>& work) {
  std::vector<std::future<Result<T>>> running;
  for (std::size_t i = 1; i < group.size(); i++)
    running.push_back(std::async(std::launch::async, work, group[i]));
  std::vector<Result<T>> results;
  results.push_back(work(group.front()));
  for (auto& one : running) results.push_back(one.get());
  return results;
}

bool has_check(const AttachmentState& attachment) {
  const auto version = cni::Version::parse(attachment.cni_version);
  return !attachment.disable_check && version && *version >= cni::kCheckSince;
}

bool has_gc(const AttachmentState& attachment) {
  const auto version = cni::Version::parse(attachment.cni_version);
  return version && *version >= cni::kGcSince;
}

// The attachments of one network that are alive, as GC lists them.
Json valid_attachments(const std::vector<PodState>& states, const std::string& network) {
  Json valid = Json::array();
  for (const PodState& state : states) {
    for (const AttachmentState& attachment : state.attachments) {
      if (attachment.network == network)
        valid.push_back({{"containerID", state.container_id}, {"ifname", attachment.ifname}});
    }
  }
  return valid;
}

}  // namespace

PodRunner::PodRunner(const NodeConfig& config, const Log& log, MultusSettings settings, PluginExec& exec,
                     OpenNetlink open_netlink)
    : config_(config),
      log_(log),
      settings_(std::move(settings)),
      exec_(exec),
      open_netlink_(std::move(open_netlink)),
      store_(config) {}

ChainContext PodRunner::context_of(const std::string& container_id, const std::string& netns,
                                   const Environment& env) const {
  return {exec_, env, plugin_path(settings_, env), container_id, netns};
}

Result<PodAttachments> PodRunner::add(const ObjectStore& objects, const Pod& pod, const Sandbox& sandbox) {
  VMLANE_ASSIGN(const auto lock, ObjectLock::acquire(config_.locks_dir(), "sandbox", sandbox.container_id));
  VMLANE_ASSIGN(const auto plan, plan_pod(config_, settings_, exec_, objects, pod, sandbox));
  VMLANE_ASSIGN(PodState state, prepare(pod, sandbox, plan));
  const ChainContext context = context_of(sandbox.container_id, sandbox.netns, sandbox.env);
  Json status;
  const auto finish = [&]() -> Result<> {
    VMLANE_TRY(write_pod_facts(config_, pod));
    VMLANE_TRY(attach_all(state, context));
    VMLANE_TRY(set_default_route(state, plan));
    VMLANE_ASSIGN(status, network_status(state.attachments));
    VMLANE_TRY(store_.write(state));
    return write_network_status(config_, pod.uid, status);
  };
  const auto done = finish();
  if (!done) {
    log_.error("ADD failed, undoing", {{"error", done.error().text()}});
    const auto undone = del_state(state, context);
    if (!undone) log_.error("undo left something for DEL", {{"error", undone.error().text()}});
    return fail(done.error());
  }
  PodAttachments attachments{.attachments = attachments_of(state), .network_status = std::move(status)};
  const auto first = std::ranges::find(attachments.attachments, true, &Attachment::is_default);
  if (first != attachments.attachments.end()) attachments.default_result = first->result;
  return attachments;
}

// The last checks, and the intent on disk. The names of networks are compared and claimed under one lock, so
// that two pods cannot bring in two settings at once.
Result<PodState> PodRunner::prepare(const Pod& pod, const Sandbox& sandbox,
                                    const std::vector<PlannedAttachment>& plan) {
  VMLANE_ASSIGN(const auto present, store_.read(sandbox.container_id));
  if (present) {
    return fail(Code::kConflict,
                "sandbox " + sandbox.container_id + " is attached already, as pod " + present->pod_ns + "/" +
                    present->pod_name,
                "run DEL first");
  }
  VMLANE_ASSIGN(const auto links, open_netlink_(sandbox.netns));
  VMLANE_TRY(check_free_names(*links, plan));
  PodState state{.container_id = sandbox.container_id,
                 .pod_ns = pod.ns,
                 .pod_name = pod.name,
                 .pod_uid = pod.uid,
                 .netns = sandbox.netns};
  for (const PlannedAttachment& planned : plan) state.attachments.push_back(planned.state);
  VMLANE_ASSIGN(const auto lock, ObjectLock::acquire(config_.locks_dir(), "multus", "networks"));
  VMLANE_ASSIGN(const auto running, store_.list());
  VMLANE_TRY(check_network_names(plan, running));
  VMLANE_TRY(store_.write(state));
  return state;
}

Result<> PodRunner::attach_all(PodState& state, const ChainContext& context) {
  for (const auto& group : in_groups(state.attachments)) {
    for (const std::size_t i : group) {
      AttachmentState& attachment = state.attachments[i];
      attachment.started = true;
      if (attachment.device_info_file.empty()) continue;
      // Plugins write it with a library that makes the directory badly or not at all.
      VMLANE_TRY(
          make_directory(std::filesystem::path(attachment.device_info_file).parent_path(), {.mode = 0755}));
    }
    VMLANE_TRY(store_.write(state));
    auto results =
        at_once<Json>(group, [&](std::size_t i) { return add_chain(context, state.attachments[i]); });
    // What the others have made is in the state, for the undo, before the first error is told.
    std::optional<Error> failed;
    for (std::size_t k = 0; k < group.size(); k++) {
      AttachmentState& attachment = state.attachments[group[k]];
      if (!results[k]) {
        if (!failed) failed = results[k].error();
        continue;
      }
      attachment.result = std::move(*results[k]);
      log_.info("attached", {{"nad", attachment.nad}, {"ifname", attachment.ifname}});
    }
    if (failed) return fail(*failed);
  }
  return {};
}

Result<> PodRunner::set_default_route(PodState& state, const std::vector<PlannedAttachment>& plan) {
  const auto chosen = std::ranges::find_if(
      plan, [](const PlannedAttachment& planned) { return !planned.default_route.empty(); });
  if (chosen == plan.end()) return {};
  std::vector<std::string> ifnames;
  for (AttachmentState& attachment : state.attachments) {
    ifnames.push_back(attachment.ifname);
    attachment.result = with_default_routes(std::move(attachment.result), chosen->default_route,
                                            attachment.ifname == chosen->state.ifname);
  }
  VMLANE_ASSIGN(const auto pod, open_netlink_(state.netns));
  const auto moved = move_default_routes(*pod, ifnames, chosen->state.ifname, chosen->default_route);
  if (!moved)
    return fail(moved.error().code, "network " + chosen->state.nad + ": " + moved.error().message,
                moved.error().details);
  return {};
}

Result<> PodRunner::del(const Sandbox& sandbox) {
  VMLANE_ASSIGN(const auto lock, ObjectLock::acquire(config_.locks_dir(), "sandbox", sandbox.container_id));
  auto state = store_.read(sandbox.container_id);
  if (!state) {
    // A file that cannot be read will not get better; a DEL that always fails would keep the pod for ever.
    log_.error("state of the sandbox is lost", {{"error", state.error().text()}});
    const auto removed = store_.remove(sandbox.container_id);
    if (!removed) log_.warning("it is left alone", {{"error", removed.error().text()}});
    return {};
  }
  if (!*state) return {};
  return del_state(**state, context_of(sandbox.container_id, sandbox.netns, sandbox.env));
}

// Keeps in the state what could not be deleted; with nothing left, the state and the pod's files go.
Result<> PodRunner::del_state(PodState& state, const ChainContext& context) {
  std::erase_if(state.attachments, [](const AttachmentState& attachment) { return !attachment.started; });
  std::vector<Error> errors;
  std::vector<AttachmentState> kept;
  for (auto group : std::views::reverse(in_groups(state.attachments))) {
    std::ranges::reverse(group);
    const auto results = at_once<void>(group, [&](std::size_t i) -> Result<> {
      const AttachmentState& attachment = state.attachments[i];
      VMLANE_TRY(del_chain(context, attachment));
      return attachment.device_info_file.empty() ? Result<>() : remove_file(attachment.device_info_file);
    });
    for (std::size_t k = 0; k < group.size(); k++) {
      AttachmentState& attachment = state.attachments[group[k]];
      if (!results[k]) {
        errors.push_back(results[k].error());
        kept.insert(kept.begin(), std::move(attachment));
        continue;
      }
      log_.info("detached", {{"nad", attachment.nad}, {"ifname", attachment.ifname}});
    }
  }
  state.attachments = std::move(kept);
  // A disk that is full or read-only must not hide what the plugins said, nor keep a pod whose networks are
  // gone: the old state names more than there is, which the next DEL or GC finds out.
  const auto tolerate = [this](const Result<>& result) {
    if (!result) log_.warning("file is left as it was", {{"error", result.error().text()}});
  };
  if (!errors.empty()) {
    tolerate(store_.write(state));
    return joined(errors, "DEL of sandbox " + state.container_id);
  }
  tolerate(remove_pod_files(config_, state.pod_uid));
  tolerate(store_.remove(state.container_id));
  return {};
}

Result<> PodRunner::check(const Sandbox& sandbox) {
  VMLANE_ASSIGN(const auto state, store_.read(sandbox.container_id));
  if (!state) return fail(Code::kUnknownContainer, "sandbox " + sandbox.container_id + " is not attached");
  const ChainContext context = context_of(sandbox.container_id, sandbox.netns, sandbox.env);
  for (const AttachmentState& attachment : state->attachments) {
    if (attachment.result.is_null()) {
      return fail(Code::kChanged, "network " + attachment.nad + ", interface " + attachment.ifname +
                                      ": ADD has not been completed");
    }
    if (has_check(attachment)) VMLANE_TRY(check_chain(context, attachment));
  }
  return {};
}

Result<> PodRunner::gc(const std::set<std::string>& alive, const Environment& env) {
  VMLANE_ASSIGN(const auto before, store_.list());
  std::vector<Error> errors;
  for (const PodState& state : before) {
    if (alive.contains(state.container_id)) continue;
    const auto deleted = del({.container_id = state.container_id, .netns = state.netns, .env = env});
    if (!deleted) errors.push_back(deleted.error());
  }
  VMLANE_ASSIGN(const auto after, store_.list());
  std::set<std::string> told;
  for (const PodState& state : before) {
    for (const AttachmentState& attachment : state.attachments) {
      if (!has_gc(attachment) || attachment.disable_gc || !told.insert(attachment.network).second) continue;
      AttachmentState network = attachment;
      network.ifname.clear();
      network.cni_args.clear();
      const auto collected =
          gc_chain(context_of("", "", env), network, valid_attachments(after, network.network));
      if (!collected) errors.push_back(collected.error());
    }
  }
  return joined(errors, "GC");
}

Result<> PodRunner::status(const ObjectStore& objects, const Environment& env) {
  if (settings_.cluster_network.empty()) return {};
  const Pod nobody{.ns = "default", .name = "status", .uid = "status"};
  const Sandbox sandbox{.container_id = "status", .env = env};
  MultusSettings only_cluster = settings_;
  only_cluster.default_networks.clear();
  const auto plan = plan_pod(config_, only_cluster, exec_, objects, nobody, sandbox);
  if (!plan) return fail(Code::kNotAvailable, plan.error().message, plan.error().details);
  for (const PlannedAttachment& planned : *plan) {
    AttachmentState network = planned.state;
    if (!has_gc(network)) continue;  // STATUS came with the same version
    network.ifname.clear();
    network.cni_args.clear();
    VMLANE_TRY(status_chain(context_of("", "", env), network));
  }
  return {};
}

Result<std::unique_ptr<netlink::Netlink>> open_pod_netlink(const std::string& netns) {
  VMLANE_ASSIGN(const auto own, netlink::Namespace::current());
  VMLANE_ASSIGN(const auto pod, netlink::Namespace::open(netns));
  VMLANE_ASSIGN(const bool same, pod.same_as(own));
  if (same) {
    return fail(Code::kInvalidNamespace, "network namespace " + netns + " is the node's own",
                "a pod needs one of its own");
  }
  return netlink::open_netlink(pod);
}

}  // namespace vmlane::multus
