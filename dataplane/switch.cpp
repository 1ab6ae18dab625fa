// SPDX-License-Identifier: Apache-2.0
#include "dataplane/switch.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "core/boot_id.h"
#include "core/keeper_paths.h"
#include "core/record.h"
#include "policy/tables_file.h"

namespace vmlane::dataplane {
namespace {

using std::chrono::milliseconds;

// A socket is there a moment before its owner listens, and stays when he is gone.
constexpr milliseconds kFirstPause{1};
constexpr milliseconds kLongestPause{1000};
constexpr milliseconds kCheckEvery{1000};
constexpr unsigned kAnnouncements = 5;
constexpr milliseconds kFirstRepeat{50};
constexpr milliseconds kMoreRepeat{100};

void watch_descriptor(int epoll, int descriptor) {
  epoll_event event{.events = EPOLLIN, .data = {.fd = descriptor}};
  ::epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
}

void empty_event(int descriptor) {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto got = ::read(descriptor, &count, sizeof count);
}

// No value without a limit, and for one that cannot be; the plugin refuses those.
std::optional<RateLimit> limit_of(const Bandwidth& bandwidth) {
  if (bandwidth.rate == 0) return std::nullopt;
  auto limit = RateLimit::create(bandwidth);
  return limit ? std::optional(*limit) : std::nullopt;
}

PortRules rules_of(const PortSpec& spec) {
  std::optional<PolicyRule> policy;
  if (spec.policy_denies)
    policy = PolicyRule{.deny = *spec.policy_denies, .allow_node = spec.node_mac.has_value()};
  return {.network = spec.network,
          .mac = spec.mac,
          .node_mac = spec.node_mac,
          .addresses = spec.addresses,
          .isolated = spec.isolated,
          .access_vlan = spec.access_vlan,
          .guard = spec.guard,
          .answers = spec.answers,
          .policy = policy,
          .ingress = limit_of(spec.ingress),
          .egress = limit_of(spec.egress)};
}

}  // namespace

Result<std::unique_ptr<Switch>> Switch::create(const NodeConfig& config, const SwitchOptions& options,
                                               rte_mempool* pool, const KeeperLink* keeper, const Log& log) {
  // Guests' memory is mapped here and must not end in a core file.
  ::prctl(PR_SET_DUMPABLE, 0);
  VMLANE_ASSIGN(auto watch, DirectoryWatch::create());
  VMLANE_ASSIGN(const std::string boot_id, read_boot_id(config.boot_id_file));
  std::unique_ptr<Switch> made(new Switch(config, log, pool, keeper, boot_id, std::move(watch)));
  VMLANE_TRY(made->start(options));
  return made;
}

Switch::Switch(const NodeConfig& config, const Log& log, rte_mempool* pool, const KeeperLink* keeper,
               std::string boot_id, DirectoryWatch watch)
    : config_(config),
      log_(log),
      pool_(pool),
      keeper_(keeper),
      boot_id_(std::move(boot_id)),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      changed_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      watch_(std::move(watch)) {}

Result<> Switch::start(const SwitchOptions& options) {
  if (!epoll_ || !changed_) return fail(kernel_error("cannot make the switch's descriptors", errno));
  watch_descriptor(epoll_.get(), changed_.get());
  watch_descriptor(epoll_.get(), watch_.descriptor());
  VMLANE_TRY(make_directory(config_.run_dir));
  VMLANE_ASSIGN(json_rpc::Server server,
                json_rpc::Server::listen(config_.switch_socket(), config_.vmlane_gid, methods()));
  watch_descriptor(epoll_.get(), server.fd());
  server_.emplace(std::move(server));
  VMLANE_ASSIGN(errands_, Mailbox::create());
  watch_descriptor(epoll_.get(), errands_->descriptor());
  metrics_address_ = options.metrics;
  VMLANE_ASSIGN(worker_, Worker::create(options.worker, pool_));
  VMLANE_TRY(worker_->start());
  if (keeper_ == nullptr) return {};
  watch_descriptor(epoll_.get(), keeper_->descriptor());
  watch_.watch(session_dir(config_));
  waits_for_keeper_ = true;
  hold();
  return {};
}

Switch::~Switch() {
  end_metrics();
  while (!ports_.empty()) detach(ports_.begin()->first);
  for (auto& [network, uplink] : uplinks_) close_uplink(uplink);
}

json_rpc::Server::Methods Switch::methods() {
  using json_rpc::Caller;
  return {
      {"ports", {[this](const Json&, const Caller&) -> Result<Json> { return ports_json(); }}},
      {"macs", {[this](const Json&, const Caller&) -> Result<Json> { return macs_json(); }}},
      {"stats", {[this](const Json&, const Caller&) -> Result<Json> { return stats_json(); }}},
      {"drops", {[this](const Json&, const Caller&) -> Result<Json> { return drops_json(); }}},
      {"flows", {[this](const Json& params, const Caller&) { return flows_json(params); }}},
      {"quarantine", {[this](const Json& params, const Caller&) { return quarantine(params); }, true}},
      {"capture.start",
       {[this](const Json& params, const Caller& caller) { return start_capture(params, caller.uid); },
        true}},
      {"capture.read", {[this](const Json& params, const Caller&) { return read_capture(params); }, true}},
      {"trace",
       {[this](const Json& params, const Caller& caller) { return trace(params, caller.uid); }, true}},
      {"trace.start",
       {[this](const Json& params, const Caller& caller) { return start_trace(params, caller.uid); }, true}},
      {"trace.read", {[this](const Json& params, const Caller&) { return read_trace(params); }, true}},
      {"drain",
       {[this](const Json& params, const Caller& caller) { return drain(params, caller.uid); }, true}},
      {"resume", {[this](const Json&, const Caller&) { return resume(); }, true}},
      {"flows.flush", {[this](const Json& params, const Caller&) { return flush_flows(params); }, true}},
      {"metrics", {[this](const Json&, const Caller&) -> Result<Json> { return metrics_json(); }}},
      {"release", {[this](const Json& params, const Caller&) { return release(params); }, true}},
      {"policy.counters", {[this](const Json&, const Caller&) -> Result<Json> {
         collect_policy();
         return policy_log_.counters();
       }}},
      {"policy.drops", {[this](const Json& params, const Caller&) -> Result<Json> {
         ObjectReader reader(params, "params.", Code::kInvalidConfig);
         VMLANE_ASSIGN(const auto after, reader.integer("after", 0, INT64_MAX));
         collect_policy();
         return policy_log_.drops(static_cast<std::uint64_t>(after.value_or(0)));
       }}},
      {"resync", {[this](const Json&, const Caller&) -> Result<Json> {
         resync();
         return Json::object();
       }}}};
}

Result<> Switch::run(int stop) {
  watch_descriptor(epoll_.get(), stop);
  load_policy();  // before the first guest is there
  resync();
  if (keeper_ != nullptr) keeper_->say(switch_words::kConnected);
  log_.info("the switch serves", {{"ports", std::to_string(ports_.size())}});
  constexpr int kEvents = 16;
  std::array<epoll_event, kEvents> events;
  for (;;) {
    const int count = ::epoll_wait(epoll_.get(), events.data(), kEvents, next_try());
    if (count < 0 && errno != EINTR) return fail(kernel_error("cannot wait for events", errno));
    for (int i = 0; i < count; i++) {
      const int descriptor = events[static_cast<std::size_t>(i)].data.fd;
      if (descriptor == stop) return {};
      if (keeper_ != nullptr && descriptor == keeper_->descriptor()) {
        if (!obey_keeper()) return {};
        continue;
      }
      if (descriptor == errands_->descriptor()) {
        errands_->drain();
      } else if (descriptor == changed_.get()) {
        empty_event(descriptor);
        look_again();
      } else if (descriptor == watch_.descriptor()) {
        const auto changed = watch_.changed();
        if (changed.contains(config_.policy_dir())) load_policy();
        if (changed.contains(config_.attachments_dir())) resync();
        connect_in(changed);
      } else if (server_) {
        server_->serve();
      }
    }
    connect_due();
    announce_again();
  }
}

// The tables that count now, if the agent has published others. Those in use stay when none are to be had:
// what was denied stays denied.
void Switch::load_policy() {
  watch_.watch(config_.policy_dir());
  auto file = policy::TablesFile::map(config_.policy_dir() / policy::tables_file_name());
  const std::string problem = file ? "" : file.error().text();
  if (!problem.empty() && problem != policy_problem_)
    log_.error("the policy tables are of no use", {{"error", problem}});
  policy_problem_ = problem;
  if (!file || !*file || (*file)->generation() == policy_generation_) return;
  policy_generation_ = (*file)->generation();
  auto names = (*file)->policies();
  auto tables = std::make_shared<const policy::TablesFile>(std::move(**file));
  PolicyGate::Findings found;
  worker_->mailbox().run([&] {
    found = worker_->forwarder().take_policy_findings();
    tables = worker_->forwarder().use(std::move(tables), clock_ns());
  });
  policy_log_.add(found);
  policy_log_.use_names(names ? std::move(*names) : std::vector<policy::PolicyName>());
}

void Switch::collect_policy() {
  PolicyGate::Findings found;
  worker_->mailbox().run([&] { found = worker_->forwarder().take_policy_findings(); });
  policy_log_.add(found);
}

bool Switch::obey_keeper() {
  const std::string word = keeper_->hear();
  if (word == switch_words::kForward) {
    waits_for_keeper_ = false;
    hold();
    keeper_->say(switch_words::kForwarding);
  } else if (word == switch_words::kDrain) {
    // The next one takes the socket, and all rings stay as they are.
    waits_for_keeper_ = true;
    hold();
    server_.reset();
    keeper_->say(switch_words::kDrained);
    // What is left is to be killed, and not to take part in what goes on meanwhile.
    while (!keeper_->hear().empty()) {
    }
    return false;
  } else if (word.empty()) {
    return false;  // it is gone
  }
  return true;
}

std::filesystem::path Switch::socket_of(const PortSpec& spec) const {
  return keeper_ != nullptr ? session_socket(config_, spec.id) : spec.socket;
}

void Switch::resync() {
  watch_.watch(config_.attachments_dir());
  const auto listing = RecordStore(config_).list();
  std::set<std::string> problems;
  std::set<std::string> wanted;
  if (!listing) problems.insert(listing.error().text());
  for (const Error& problem : listing ? listing->problems : std::vector<Error>())
    problems.insert(problem.text());
  for (const AttachmentRecord& record : listing ? listing->records : std::vector<AttachmentRecord>()) {
    auto spec = port_spec(record, boot_id_);
    if (!spec) problems.insert(spec.error().text());
    if (!spec || !*spec) continue;
    wanted.insert((*spec)->id);
    attach(std::move(**spec));
  }
  for (const std::string& problem : problems) {
    if (!problems_.contains(problem)) log_.error("a record is of no use", {{"error", problem}});
  }
  problems_ = std::move(problems);
  std::vector<std::string> gone;
  // What cannot be read takes nothing away from guests that are connected.
  for (const auto& [id, attached] : ports_) {
    if (listing && listing->problems.empty() && !wanted.contains(id)) gone.push_back(id);
  }
  for (const std::string& id : gone) {
    detach(id);
    std::error_code error;
    std::filesystem::remove(quarantine_file(id), error);
  }
  resync_uplinks();
}

void Switch::attach(PortSpec spec) {
  const auto known = ports_.find(spec.id);
  if (known != ports_.end() && known->second.spec.same_as(spec)) return;
  if (known != ports_.end()) detach(spec.id);
  Attached& attached = ports_[spec.id];
  const VhostPort::Surroundings surroundings{
      .worker = worker_->mailbox(),
      .epoll = worker_->epoll(),
      .pool = pool_,
      .changed = [this] { tell_changed(); },
      .announce =
          [this, &attached](const MacAddress& mac) { announce(attached.port->name(), *attached.port, mac); }};
  attached.port = std::make_unique<VhostPort>(spec.id, socket_of(spec), surroundings);
  attached.port->mtu = spec.mtu;
  attached.spec = std::move(spec);
  // Also when another switch was told so.
  const auto reason = read_file(quarantine_file(attached.spec.id));
  attached.quarantine = reason && *reason ? **reason : "";
  worker_->mailbox().run([&] {
    worker_->forwarder().add(*attached.port, rules_of(attached.spec), clock_ns());
    worker_->forwarder().quarantine(*attached.port, !attached.quarantine.empty());
  });
  log_.info("port added", {{"attachment", attached.spec.id}, {"network", attached.spec.network}});
  watch_.watch(attached.port->socket().parent_path());
  connect(attached);
}

void Switch::detach(const std::string& id) {
  Attached& attached = ports_.at(id);
  worker_->mailbox().run([&] { worker_->forwarder().remove(*attached.port); });
  // The keeper's directory is that of all ports.
  if (keeper_ == nullptr) watch_.unwatch(attached.spec.socket.parent_path());
  log_.info("port removed", {{"attachment", id}, {"network", attached.spec.network}});
  ports_.erase(id);
}

// An uplink for each network of which a record names one. A second one to the same network would close a
// loop.
void Switch::resync_uplinks() {
  std::map<std::string, std::string> wanted;
  for (auto& [id, attached] : ports_) {
    attached.problem.clear();
    if (attached.spec.uplink.empty()) continue;
    const auto [first, added] = wanted.try_emplace(attached.spec.network, attached.spec.uplink);
    if (first->second == attached.spec.uplink) continue;
    attached.problem = "uplink " + attached.spec.uplink + " would be a second one of network " +
                       attached.spec.network + " beside " + first->second + ": a loop";
    log_.error(attached.problem, {{"attachment", id}});
  }
  for (auto uplink = uplinks_.begin(); uplink != uplinks_.end();) {
    const auto still = wanted.find(uplink->first);
    if (still != wanted.end() && still->second == uplink->second.tap) {
      ++uplink;
      continue;
    }
    close_uplink(uplink->second);
    uplink = uplinks_.erase(uplink);
  }
  for (const auto& [network, tap] : wanted) {
    Uplink& uplink = uplinks_[network];
    uplink.tap = tap;
    open_uplink(network, uplink);
  }
}

void Switch::open_uplink(const std::string& network, Uplink& uplink) {
  bool dead = false;
  if (uplink.port) worker_->mailbox().run([&] { dead = !uplink.port->linked(); });
  if (uplink.port && !dead) return;
  close_uplink(uplink);
  auto opened = UplinkPort::open(uplink.tap, pool_, worker_->epoll(), [this] { tell_changed(); });
  if (!opened) {
    const std::string problem = opened.error().text();
    if (uplink.problem != problem) log_.error("an uplink cannot be used", {{"error", problem}});
    uplink.problem = problem;
    return;
  }
  uplink.problem.clear();
  uplink.port = std::move(*opened);
  worker_->mailbox().run(
      [&] { worker_->forwarder().add(*uplink.port, {.network = network, .uplink = true}, clock_ns()); });
  log_.info("uplink opened", {{"network", network}, {"tap", uplink.tap}});
}

void Switch::close_uplink(Uplink& uplink) {
  if (!uplink.port) return;
  worker_->mailbox().run([&] { worker_->forwarder().remove(*uplink.port); });
  uplink.port.reset();
}

void Switch::announce(const std::string& id, VhostPort& port, const MacAddress& mac) {
  {
    const std::lock_guard lock(announcing_mutex_);
    const auto [entry, added] = announcing_.try_emplace(id);
    // As often as QEMU asks, but not more often than is of use to anybody.
    if (!added && entry->second.mac == mac && entry->second.told == 0) return;
    entry->second = {.mac = mac, .told = 0, .due = Clock::now()};
  }
  worker_->mailbox().post([this, id, &port, mac] {
    worker_->announce(port, mac);
    const std::lock_guard lock(announcing_mutex_);
    const auto entry = announcing_.find(id);
    if (entry == announcing_.end() || entry->second.told != 0) return;
    entry->second.told = 1;
    entry->second.due = Clock::now() + kFirstRepeat;
    tell_changed();
  });
}

// The pauses grow, as those of QEMU's own announcements do.
void Switch::announce_again() {
  std::vector<std::pair<std::string, MacAddress>> due;
  {
    const auto now = Clock::now();
    const std::lock_guard lock(announcing_mutex_);
    for (auto entry = announcing_.begin(); entry != announcing_.end();) {
      Announcing& announcing = entry->second;
      if (announcing.told == 0 || announcing.due > now) {
        ++entry;
        continue;
      }
      due.emplace_back(entry->first, announcing.mac);
      announcing.due = now + kFirstRepeat + announcing.told * kMoreRepeat;
      entry = ++announcing.told < kAnnouncements ? std::next(entry) : announcing_.erase(entry);
    }
  }
  for (const auto& [id, mac] : due) {
    const auto attached = ports_.find(id);
    if (attached == ports_.end()) continue;
    VhostPort& port = *attached->second.port;
    worker_->mailbox().run([&] { worker_->announce(port, mac); });
  }
}

void Switch::connect(Attached& attached) {
  const std::string before = attached.port->error();
  if (attached.port->connect()) {
    attached.due.reset();
    attached.pause = {};
    return;
  }
  const std::string problem = attached.port->error();
  if (!problem.empty() && problem != before)
    log_.error("a port cannot be connected", {{"attachment", attached.spec.id}, {"error", problem}});
  // Without a file there is nothing to try: its directory tells when it comes.
  std::error_code error;
  const bool there = std::filesystem::exists(attached.port->socket(), error) ||
                     !watch_.watch(attached.port->socket().parent_path());
  attached.pause = std::clamp(2 * attached.pause, kFirstPause, kLongestPause);
  attached.due = there ? std::optional(Clock::now() + attached.pause) : std::nullopt;
}

// From any thread.
void Switch::tell_changed() const {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(changed_.get(), &one, sizeof one);
}

void Switch::look_again() {
  tell_faults();
  for (auto& [network, uplink] : uplinks_) open_uplink(network, uplink);
  for (auto& [id, attached] : ports_) {
    attached.pause = {};
    connect(attached);
  }
}

void Switch::connect_in(const std::set<std::filesystem::path>& directories) {
  for (auto& [id, attached] : ports_) {
    if (!directories.contains(attached.port->socket().parent_path())) continue;
    attached.pause = {};
    connect(attached);
  }
}

void Switch::connect_due() {
  const auto now = Clock::now();
  if (drained_until_ && *drained_until_ <= now) end_drain("itself, after the time that was asked for");
  for (auto& [id, attached] : ports_) {
    if (attached.due && *attached.due <= now) connect(attached);
  }
  if (now < next_check_) return;
  next_check_ = now + kCheckEvery;
  serve_metrics();
  if (!watch_.watches(config_.policy_dir())) load_policy();
  if (!watch_.watches(config_.attachments_dir())) return resync();
  for (auto& [network, uplink] : uplinks_) open_uplink(network, uplink);
}

int Switch::next_try() {
  std::optional<Clock::time_point> first;
  const auto sooner = [&](Clock::time_point due) { first = first ? std::min(*first, due) : due; };
  if (drained_until_) sooner(*drained_until_);
  for (const auto& [id, attached] : ports_) {
    if (attached.due) sooner(*attached.due);
  }
  {
    const std::lock_guard lock(announcing_mutex_);
    for (const auto& [id, announcing] : announcing_) {
      if (announcing.told != 0) sooner(announcing.due);
    }
  }
  const bool missing = std::ranges::any_of(uplinks_, [](const auto& uplink) { return !uplink.second.port; });
  const bool unwatched = !watch_.watches(config_.attachments_dir()) || !watch_.watches(config_.policy_dir());
  const bool unserved = !waits_for_keeper_ && !metrics_address_.empty() && !metrics_server_;
  if (missing || unwatched || unserved) sooner(next_check_);
  if (!first) return -1;
  const auto left = std::chrono::ceil<milliseconds>(*first - Clock::now()).count();
  return static_cast<int>(std::max<std::int64_t>(left, 0));
}

}  // namespace vmlane::dataplane
