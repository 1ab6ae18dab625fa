// SPDX-License-Identifier: Apache-2.0
#include "keeper/keeper.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/boot_id.h"
#include "core/keeper_paths.h"
#include "core/record.h"

namespace vmlane::keeper {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

// A socket is there a moment before its owner listens, and stays when he is gone.
constexpr milliseconds kFirstAttempt{1};
constexpr milliseconds kLongestAttempt{1000};
// An answer of the switch that takes longer never comes.
constexpr auto kAnswerPatience = std::chrono::seconds(10);
// For a directory of records that is not there yet.
constexpr milliseconds kCheckEvery{1000};

// The socket of a port that is in use; no value for other records.
Result<std::optional<fs::path>> socket_of(const AttachmentRecord& record, const std::string& boot_id) {
  if (record.plugin != "vmlane-vhostuser" || record.state != RecordState::kDone || record.boot_id != boot_id)
    return std::nullopt;
  ObjectReader reader(record.handles, "handles.", Code::kDecode);
  auto socket = reader.text("socket");
  if (!socket) return fail(socket.error().wrap("record of attachment " + record.key.id()));
  if (!fs::path(*socket).is_absolute())
    return fail(Code::kDecode, "record of attachment " + record.key.id() + " names no socket");
  return *socket;
}

// What an earlier keeper left behind: sockets that nobody serves.
Result<> make_empty_directory(const fs::path& directory) {
  std::error_code error;
  fs::remove_all(directory, error);
  if (error) return fail(io_error("cannot empty " + directory.string(), error.value()));
  return make_directory(directory, {.mode = 0700});
}

}  // namespace

Result<std::unique_ptr<Keeper>> Keeper::create(const NodeConfig& config, const KeeperOptions& options,
                                               const Log& log) {
  VMLANE_ASSIGN(auto watch, DirectoryWatch::create());
  VMLANE_ASSIGN(std::string boot_id, read_boot_id(config.boot_id_file));
  std::unique_ptr<Keeper> made(new Keeper(config, options, log, std::move(boot_id), std::move(watch)));
  VMLANE_TRY(made->start());
  return made;
}

Keeper::Keeper(const NodeConfig& config, const KeeperOptions& options, const Log& log, std::string boot_id,
               DirectoryWatch watch)
    : config_(config),
      log_(log),
      boot_id_(std::move(boot_id)),
      watch_(std::move(watch)),
      supervisor_(options.switch_command, options.standby, log) {}

Result<> Keeper::start() {
  VMLANE_TRY(make_directory(config_.run_dir));
  VMLANE_ASSIGN(json_rpc::Server server,
                json_rpc::Server::listen(keeper_socket(config_), config_.vmlane_gid, methods()));
  server_.emplace(std::move(server));
  VMLANE_TRY(make_empty_directory(session_dir(config_)));
  now_ = Clock::now();
  return supervisor_.start(now_);
}

json_rpc::Server::Methods Keeper::methods() {
  using json_rpc::Caller;
  return {{"sessions", {[this](const Json&, const Caller&) -> Result<Json> { return sessions_json(); }}},
          {"status", {[this](const Json&, const Caller&) -> Result<Json> { return supervisor_.to_json(); }}},
          {"restart",
           {[this](const Json&, const Caller&) -> Result<Json> {
              supervisor_.restart();
              return supervisor_.to_json();
            },
            true}}};
}

Json Keeper::sessions_json() const {
  Json rows = Json::array();
  for (const auto& [id, port] : ports_) {
    Json row = port.relay->to_json();
    row["port"] = id;
    row["socket"] = port.relay->front_socket().string();
    rows.push_back(std::move(row));
  }
  return rows;
}

Result<> Keeper::run(int stop, const std::function<void()>& ready) {
  resync();
  bool told = false;
  for (;;) {
    std::vector<pollfd> wanted = {{.fd = stop, .events = POLLIN, .revents = 0},
                                  {.fd = watch_.descriptor(), .events = POLLIN, .revents = 0},
                                  {.fd = server_->fd(), .events = POLLIN, .revents = 0}};
    supervisor_.append_wanted(wanted);
    for (const auto& [id, port] : ports_) port.relay->append_wanted(wanted);
    if (::poll(wanted.data(), wanted.size(), next_due()) < 0 && errno != EINTR)
      return fail(kernel_error("cannot wait for events", errno));
    now_ = Clock::now();
    if (wanted[0].revents != 0) return {};
    supervisor_.step(now_);
    if (wanted[1].revents != 0) {
      const auto changed = watch_.changed();
      if (changed.contains(config_.attachments_dir())) resync();
      look_into(changed);
    }
    if (wanted[2].revents != 0) server_->serve();
    connect_due();
    step_ports();
    watch_over_switch();
    if (supervisor_.forwarding() && !told) {
      told = true;
      ready();
    }
  }
}

void Keeper::resync() {
  watch_.watch(config_.attachments_dir());
  const auto listing = RecordStore(config_).list();
  std::set<std::string> problems;
  std::map<std::string, fs::path> wanted;
  if (!listing) problems.insert(listing.error().text());
  for (const Error& problem : listing ? listing->problems : std::vector<Error>())
    problems.insert(problem.text());
  for (const AttachmentRecord& record : listing ? listing->records : std::vector<AttachmentRecord>()) {
    const auto socket = socket_of(record, boot_id_);
    if (!socket) problems.insert(socket.error().text());
    if (socket && *socket) wanted.emplace(record.key.id(), **socket);
  }
  for (const std::string& problem : problems) {
    if (!problems_.contains(problem)) log_.error("a record is of no use", {{"error", problem}});
  }
  problems_ = std::move(problems);
  std::vector<std::string> gone;
  for (const auto& [id, port] : ports_) {
    const auto still = wanted.find(id);
    const bool moved = still != wanted.end() && still->second != port.relay->front_socket();
    // What cannot be read takes nothing away from guests that are connected.
    const bool missing = still == wanted.end() && listing && listing->problems.empty();
    if (moved || missing) gone.push_back(id);
  }
  for (const std::string& id : gone) remove(id);
  for (const auto& [id, socket] : wanted) add(id, socket);
}

void Keeper::add(const std::string& id, const fs::path& socket) {
  if (ports_.contains(id)) return;
  Port& port = ports_[id];
  port.relay = std::make_unique<Relay>(socket, session_socket(config_, id));
  watch_.watch(socket.parent_path());
  port.due = now_;
}

void Keeper::remove(const std::string& id) {
  watch_.unwatch(ports_.at(id).relay->front_socket().parent_path());
  ports_.erase(id);
}

// Only for a switch that is there to answer what QEMU will ask at once.
void Keeper::connect(const std::string& id, Port& port) {
  if (!supervisor_.forwarding()) return;
  if (port.relay->connect_front()) {
    log_.info("session begun", {{"attachment", id}});
    port.due.reset();
    port.begun = now_;
    port.told_problem.clear();
    return;
  }
  const std::string problem = port.relay->to_json().value("problem", "");
  if (!problem.empty() && problem != port.told_problem)
    log_.error("a port cannot be connected", {{"attachment", id}, {"error", problem}});
  port.told_problem = problem;
  // Without a file there is nothing to try: its directory tells when it comes.
  std::error_code error;
  const bool there = fs::exists(port.relay->front_socket(), error) ||
                     !watch_.watch(port.relay->front_socket().parent_path());
  port.pause = std::clamp(2 * port.pause, kFirstAttempt, kLongestAttempt);
  port.due = there ? std::optional(now_ + port.pause) : std::nullopt;
}

void Keeper::look_into(const std::set<fs::path>& directories) {
  for (auto& [id, port] : ports_) {
    if (!directories.contains(port.relay->front_socket().parent_path())) continue;
    port.pause = {};
    if (!port.relay->front_connected()) port.due = now_;
  }
}

void Keeper::connect_due() {
  for (auto& [id, port] : ports_) {
    if (port.due && *port.due <= now_) connect(id, port);
  }
  if (watch_.watches(config_.attachments_dir()) || now_ < next_check_) return;
  next_check_ = now_ + kCheckEvery;
  resync();
}

void Keeper::step_ports() {
  for (auto& [id, port] : ports_) {
    const bool was_held = port.relay->front_connected();
    port.relay->step(supervisor_.active(), now_);
    if (!was_held || port.relay->front_connected()) continue;
    const std::string reason = port.relay->to_json().value("last_reason", "");
    log_.warning("session ended", {{"attachment", id}, {"reason", reason}});
    // A front end that is refused at once will be so again; QEMU that is restarted makes its socket anew.
    if (now_ - port.begun >= kLongestAttempt) port.pause = {};
    port.pause = std::clamp(2 * port.pause, kFirstAttempt, kLongestAttempt);
    port.due = now_ + port.pause;
  }
}

void Keeper::watch_over_switch() {
  for (const auto& [id, port] : ports_) {
    const auto since = port.relay->waiting_since();
    if (!since || now_ - *since < kAnswerPatience || supervisor_.active() < 0) continue;
    port.relay->drop_back();
    return supervisor_.kill_active("it does not answer for attachment " + id);
  }
  if (!supervisor_.awaits_sessions()) return;
  // All guests begin at once: a frame to one that is not there yet would be lost. A port that the switch did
  // not connect to, although it said that it has tried all, is not waited for.
  const bool settled = std::ranges::all_of(ports_, [](const auto& port) {
    return port.second.relay->settled() || !port.second.relay->back_connected();
  });
  if (settled) supervisor_.sessions_settled(now_);
}

int Keeper::next_due() const {
  std::optional<Clock::time_point> first = supervisor_.due();
  const auto sooner = [&](Clock::time_point due) { first = first ? std::min(*first, due) : due; };
  for (const auto& [id, port] : ports_) {
    if (port.due && supervisor_.forwarding()) sooner(*port.due);
    if (const auto since = port.relay->waiting_since()) sooner(*since + kAnswerPatience);
  }
  if (!watch_.watches(config_.attachments_dir())) sooner(next_check_);
  if (!first) return -1;
  const auto left = std::chrono::ceil<milliseconds>(*first - Clock::now()).count();
  return static_cast<int>(std::max<std::int64_t>(left, 0));
}

}  // namespace vmlane::keeper
