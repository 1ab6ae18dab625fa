// SPDX-License-Identifier: Apache-2.0
#include "agent/agent.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <ostream>

#include "agent/api_objects.h"
#include "agent/methods.h"
#include "agent/node_state.h"
#include "agent/object_files.h"
#include "agent/tables_file_sink.h"
#include "core/boot_id.h"
#include "core/json_rpc_server.h"
#include "core/lock.h"

namespace vmlane::agent {
namespace {

using std::chrono::milliseconds;

// The signals that end the agent, as a descriptor. SIGIO comes when somebody opens a file in the moment that
// is_being_written() looks at it, and means nothing.
class EndSignals {
 public:
  static Result<EndSignals> block() {
    EndSignals signals;
    sigset_t blocked;
    sigemptyset(&blocked);
    for (const int signal : {SIGTERM, SIGINT}) sigaddset(&blocked, signal);
    signals.fd_ = Fd(::signalfd(-1, &blocked, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals.fd_) return fail(io_error("cannot wait for signals", errno));
    sigaddset(&blocked, SIGIO);
    if (::pthread_sigmask(SIG_BLOCK, &blocked, &signals.before_) != 0)
      return fail(io_error("cannot block signals", errno));
    return signals;
  }
  EndSignals(EndSignals&&) = default;
  ~EndSignals() {
    if (!fd_) return;
    // What has been seen must not be delivered now.
    signalfd_siginfo seen{};
    while (::read(fd_.get(), &seen, sizeof(seen)) > 0) continue;
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  int fd() const { return fd_.get(); }

 private:
  EndSignals() = default;
  Fd fd_;
  sigset_t before_{};
};

Result<std::string> node_name(const std::string& given) {
  if (!given.empty()) return given;
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0)
    return fail(io_error("cannot tell the host's name", errno));
  return std::string(name.data());
}

Result<ObjectLock> lock_node(const NodeConfig& config) {
  auto lock = ObjectLock::acquire(config.locks_dir(), "agent", "node", milliseconds(0));
  if (!lock && lock.error().code == Code::kTryAgain)
    return fail(Code::kConflict, "another vmlane-agent runs on this node", lock.error().details);
  return lock;
}

Result<std::unique_ptr<ObjectSource>> open_source(const AgentOptions& options, const NodeConfig& node_config,
                                                  const std::string& node, const Invocation& invocation) {
  if (!options.objects.empty()) {
    VMLANE_ASSIGN(ObjectFiles files, ObjectFiles::open(options.objects));
    return std::make_unique<ObjectFiles>(std::move(files));
  }
  auto config = options.kubeconfig.empty() ? kubernetes::in_cluster_config(invocation)
                                           : kubernetes::read_kubeconfig(options.kubeconfig);
  if (!config) return fail(config.error());
  VMLANE_ASSIGN(std::unique_ptr<ApiObjects> objects,
                ApiObjects::open(std::move(*config), node, node_config.network_status_dir()));
  return objects;
}

Result<AttachmentChecks> attachment_checks(const AgentOptions& options, const NodeConfig& config,
                                           const Invocation& invocation) {
  VMLANE_ASSIGN(std::string boot_id, read_boot_id(config.boot_id_file));
  Environment env(invocation.env.begin(), invocation.env.end());
  if (!config.source.empty()) env["VMLANE_CONFIG"] = config.source.string();
  return AttachmentChecks(std::move(boot_id), std::move(env),
                          options.once ? milliseconds(0) : options.check_interval);
}

// Until all objects are known and what follows from them is done. The API server has a minute.
void update_once(NodeState& state) {
  const auto end = ObjectSource::Clock::now() + std::chrono::minutes(1);
  for (;;) {
    const auto now = ObjectSource::Clock::now();
    state.update(now);
    if (state.started() || now >= end) return;
    std::vector<pollfd> fds;
    for (const int fd : state.fds()) fds.push_back({.fd = fd, .events = POLLIN, .revents = 0});
    const auto left = std::chrono::ceil<milliseconds>(std::min(state.next(), end) - now);
    ::poll(fds.data(), fds.size(), static_cast<int>(std::max(left, milliseconds(0)).count()));
  }
}

// Drops wait in the kernel until they are taken; who follows them wants them soon.
constexpr milliseconds kFollowInterval{100};

struct Service {
  NodeState& state;
  PolicyLedger& ledger;
  Followers& followers;
  json_rpc::Server& server;

  void tell_drops() const {
    ledger.collect(!followers.empty(), [this](const Json& drop) {
      std::erase_if(followers, [&](std::uint64_t connection) {
        return !server.notify(connection, "policy.drop", drop);
      });
    });
  }

  milliseconds wait() const {
    const auto left = std::chrono::ceil<milliseconds>(state.next() - ObjectSource::Clock::now());
    const milliseconds longest = followers.empty() ? milliseconds::max() : kFollowInterval;
    return std::clamp(left, milliseconds(0), longest);
  }
};

void serve(const Service& service, int end) {
  NodeState& state = service.state;
  for (;;) {
    std::vector<pollfd> fds{{.fd = end, .events = POLLIN, .revents = 0}};
    for (const int fd : state.fds()) fds.push_back({.fd = fd, .events = POLLIN, .revents = 0});
    const std::size_t watches = fds.size();
    fds.push_back({.fd = service.server.fd(), .events = POLLIN, .revents = 0});
    const int wait = static_cast<int>(service.wait().count());
    if (::poll(fds.data(), fds.size(), wait) < 0 && errno != EINTR) return;
    if (fds[0].revents != 0) return;
    const bool seen = std::any_of(fds.begin() + 1, fds.begin() + static_cast<std::ptrdiff_t>(watches),
                                  [](const pollfd& fd) { return fd.revents != 0; });
    if (seen || ObjectSource::Clock::now() >= state.next()) state.update(ObjectSource::Clock::now());
    service.tell_drops();
    service.server.serve();
  }
}

}  // namespace

Result<> run_agent(const AgentOptions& options, const Invocation& invocation) {
  VMLANE_ASSIGN(const NodeConfig config, load_node_config(invocation));
  VMLANE_ASSIGN(const std::string node, node_name(options.node));
  VMLANE_ASSIGN(const std::unique_ptr<ObjectSource> objects, open_source(options, config, node, invocation));
  VMLANE_ASSIGN(const ObjectLock lock, lock_node(config));
  VMLANE_ASSIGN(const EndSignals signals, EndSignals::block());
  const Log log(config, "vmlane-agent", {{"node", node}});
  VMLANE_ASSIGN(AttachmentFiles records, AttachmentFiles::open(config));
  KernelSink kernel(config);
  TablesFileSink file(config);
  VMLANE_ASSIGN(AttachmentChecks checks, attachment_checks(options, config, invocation));
  NodeState state(config, log, node, *objects, std::move(records), std::move(checks), {&kernel, &file},
                  options.once ? milliseconds(0) : options.check_interval);
  PolicyLedger ledger(config, log, state, kernel);
  Followers followers;
  log.info("started", {{"pid", std::to_string(::getpid())}});
  if (options.once) {
    update_once(state);
    *invocation.out << state.status().dump(2) << std::endl;
    return state.clean() ? Result<>()
                         : fail(Code::kInvalidConfig, "not everything could be read or published");
  }
  // From here on an attachment that nobody has judged is denied (contracts.md 3.12).
  VMLANE_TRY(make_directory(config.state_dir, {.mode = 0750, .group = config.vmlane_gid}));
  VMLANE_TRY(write_file_atomically(config.agent_marker(), "", {.mode = 0640, .group = config.vmlane_gid}));
  state.update(ObjectSource::Clock::now());
  VMLANE_ASSIGN(json_rpc::Server server, json_rpc::Server::listen(config.agent_socket(), config.vmlane_gid,
                                                                  methods(state, ledger, followers)));
  serve({state, ledger, followers, server}, signals.fd());
  log.info("ended", {{"pid", std::to_string(::getpid())}});
  return {};
}

}  // namespace vmlane::agent
