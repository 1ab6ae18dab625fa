// SPDX-License-Identifier: Apache-2.0
#include "keeper/relay.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/names.h"

namespace vmlane::keeper {
namespace {

// A message that ends the switch's connection this often is the port's own fault.
constexpr unsigned kMaxFruitless = 3;
// Steps of one relay before it is another's turn.
constexpr int kTurn = 64;
// QEMU sends its memory right after the features that the guest's driver wants.
constexpr auto kMemoryPatience = std::chrono::seconds(1);

Result<sockaddr_un> address_of(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.native().size() > names::kMaxSocketPath)
    return fail(Code::kInvalidConfig, "socket path " + path.string() + " is longer than 107 bytes",
                "choose a shorter runDir in the node config");
  std::ranges::copy(path.native(), address.sun_path);
  return address;
}

Result<Fd> make_socket() {
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail(io_error("cannot make a socket", errno));
  return socket;
}

// No value while nobody listens.
Result<std::optional<Fd>> connect_to(const std::filesystem::path& path) {
  VMLANE_ASSIGN(const sockaddr_un address, address_of(path));
  VMLANE_ASSIGN(Fd socket, make_socket());
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
    return std::optional(std::move(socket));
  if (errno == ENOENT || errno == ECONNREFUSED || errno == EAGAIN) return std::nullopt;
  if (errno == EACCES || errno == EPERM)
    return fail(Code::kIo, "no permission to connect to " + path.string() + " as uid " +
                               std::to_string(::geteuid()) +
                               ": QEMU must run with umask 002 and the keeper in its group");
  return fail(io_error("cannot connect to " + path.string(), errno));
}

pid_t peer_of(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? peer.pid : -1;
}

}  // namespace

Relay::Relay(std::filesystem::path front, std::filesystem::path back)
    : front_path_(std::move(front)), back_path_(std::move(back)) {}

Relay::~Relay() {
  if (listener_) ::unlink(back_path_.c_str());
}

bool Relay::connect_front() {
  if (front_) return true;
  auto connected = connect_to(front_path_);
  problem_ = connected ? "" : connected.error().text();
  if (!connected || !*connected) return false;
  if (const auto listening = listen(); !listening) {
    problem_ = listening.error().text();
    return false;
  }
  front_.emplace(std::move(**connected));
  return true;
}

Result<> Relay::listen() {
  VMLANE_ASSIGN(const sockaddr_un address, address_of(back_path_));
  VMLANE_ASSIGN(Fd socket, make_socket());
  ::unlink(back_path_.c_str());
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return fail(io_error("cannot make " + back_path_.string(), errno));
  // Its directory lets nobody else in.
  if (::listen(socket.get(), 1) != 0) return fail(io_error("cannot listen on " + back_path_.string(), errno));
  listener_ = std::move(socket);
  return {};
}

void Relay::append_wanted(std::vector<pollfd>& wanted) const {
  if (!front_) return;
  const auto want = [&](int descriptor, int events) {
    wanted.push_back({.fd = descriptor, .events = static_cast<short>(events), .revents = 0});
  };
  // While a message is on its way the next is left where it is; that QEMU is gone is told all the same.
  want(front_->descriptor(), (current_ ? 0 : POLLIN) | POLLRDHUP | (front_->sending() ? POLLOUT : 0));
  want(listener_.get(), POLLIN);
  if (back_) want(back_->descriptor(), POLLIN | (back_->sending() ? POLLOUT : 0));
}

void Relay::drop_front(const std::string& reason) {
  drop_back();
  front_.reset();
  ::unlink(back_path_.c_str());
  listener_ = Fd();
  session_ = Session();
  current_.reset();
  driver_ready_since_.reset();
  waiting_since_.reset();
  fruitless_ = 0;
  last_reason_ = reason;
}

void Relay::drop_back() {
  back_.reset();
  told_ = false;
  replay_.clear();
  waiting_since_.reset();
}

void Relay::back_lost(const std::string& why) {
  const std::string at = phase_ == Phase::kReplaying && replayed_ < replay_.size()
                             ? request_name(replay_[replayed_].request)
                             : (current_ ? request_name(current_->request) : std::string("no message"));
  drop_back();
  if (++fruitless_ >= kMaxFruitless)
    drop_front("the switch ended the connection " + std::to_string(fruitless_) + " times, last at " + at +
               ": " + why);
}

void Relay::accept_back(pid_t switch_pid) {
  Fd accepted(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  // Only the switch that is to forward gets the guest's memory.
  if (!accepted || peer_of(accepted.get()) != switch_pid) return;
  drop_back();
  back_.emplace(std::move(accepted));
  begin_replay();
}

void Relay::begin_replay() {
  replayed_ = 0;
  replay_.clear();
  phase_ = session_.begun() ? Phase::kReplaying : Phase::kRelaying;
  if (phase_ == Phase::kReplaying) replay_ = session_.replay();
}

void Relay::step(pid_t switch_pid, Clock::time_point now) {
  now_ = now;
  if (!front_) return;
  accept_back(switch_pid);
  for (int i = 0; i < kTurn && front_; i++) {
    const bool front = step_front();
    if (!front_) break;
    const bool back = step_back();
    if (!front && !back) break;
  }
  const bool lacks_memory = front_ && session_.driver_ready() && !session_.has_memory();
  if (!lacks_memory) driver_ready_since_.reset();
  if (lacks_memory && !driver_ready_since_) driver_ready_since_ = now;
}

bool Relay::step_front() {
  if (const auto flushed = front_->flush(); !flushed) {
    drop_front("QEMU ended the connection");
    return false;
  }
  if (current_ || front_->sending()) {
    // What it may have sent after this one is of no use when it is gone.
    pollfd gone{.fd = front_->descriptor(), .events = POLLRDHUP, .revents = 0};
    if (::poll(&gone, 1, 0) > 0) drop_front("QEMU ended the connection");
    return false;
  }
  auto message = front_->receive();
  if (!message) {
    drop_front(message.error().code == Code::kNotAvailable ? "QEMU ended the connection"
                                                           : "refused " + message.error().message);
    return false;
  }
  if (!*message) return false;
  if (const auto checked = session_.check(**message); !checked) {
    drop_front("refused " + checked.error().message);
    return false;
  }
  current_ = std::move(**message);
  told_ = false;
  return true;
}

bool Relay::step_back() {
  if (!back_) return false;
  auto stepped = phase_ == Phase::kReplaying ? step_replay() : step_relaying();
  if (stepped) return *stepped;
  if (stepped.error().code == Code::kNotAvailable) {
    back_lost(stepped.error().message);
  } else {
    drop_front(stepped.error().text());
  }
  return false;
}

// The answer to `request` when it is there; all else that the switch may say is nothing.
Result<std::optional<Message>> Relay::await_reply(const Message& request) {
  VMLANE_ASSIGN(auto reply, back_->receive());
  if (!reply) return std::nullopt;
  if (reply->request == request.request && reply->is_reply() && reply->descriptors.empty()) return reply;
  return fail(Code::kNotAvailable, "it answered " + request_name(request.request) + " by something else");
}

Result<bool> Relay::step_replay() {
  VMLANE_TRY(back_->flush());
  if (back_->sending()) return false;
  const Message& next = replay_[replayed_];
  if (!told_) {
    told_ = true;
    waiting_since_ = now_;
    VMLANE_TRY(back_->send(next));
    if (back_->sending()) return false;
  }
  if (expects_reply(next)) {
    VMLANE_ASSIGN(const auto reply, await_reply(next));
    if (!reply) return false;
    if (const auto usable = session_.check_replayed(*reply); !usable) {
      drop_front(usable.error().message);
      return false;
    }
  }
  told_ = false;
  waiting_since_.reset();
  if (++replayed_ < replay_.size()) return true;
  replay_.clear();
  replays_++;
  phase_ = Phase::kRelaying;
  if (!current_) back_progressed();
  return true;
}

Result<bool> Relay::step_relaying() {
  VMLANE_TRY(back_->flush());
  if (back_->sending()) return false;
  if (!current_) {
    // Nothing is asked of it, so what can be read is the end of the connection.
    VMLANE_ASSIGN(const auto unasked, back_->receive());
    if (unasked) return fail(Code::kNotAvailable, "it sent a message that nobody asked for");
    return false;
  }
  if (!told_) {
    told_ = true;
    waiting_since_ = now_;
    VMLANE_TRY(back_->send(*current_));
    if (back_->sending()) return false;
  }
  std::optional<Message> reply;
  if (expects_reply(*current_)) {
    VMLANE_ASSIGN(reply, await_reply(*current_));
    if (!reply) return false;
    back_progressed();
  }
  return finish_current(std::move(reply)).has_value();
}

Result<> Relay::finish_current(std::optional<Message> reply) {
  if (reply) Session::restrict_reply(*reply);
  session_.record(*current_, reply ? &*reply : nullptr);
  current_.reset();
  told_ = false;
  waiting_since_.reset();
  if (!reply) return {};
  auto sent = front_->send(*reply);
  if (!sent) drop_front("QEMU ended the connection");
  return sent;
}

Json Relay::to_json() const {
  const bool lacks_memory = driver_ready_since_ && now_ - *driver_ready_since_ >= kMemoryPatience;
  const std::string problem =
      !lacks_memory ? problem_
                    : "the VM's memory is not shared: QEMU needs -object "
                      "memory-backend-memfd,id=memory,share=on,size=... -machine memory-backend=memory "
                      "(libvirt: <memoryBacking> with <source type='memfd'/> and <access mode='shared'/>)";
  Json json{{"state", front_ ? "held" : (problem.empty() ? "waiting" : "refused")},
            {"switch", back_ ? (phase_ == Phase::kReplaying ? "replaying" : "connected") : "none"},
            {"replays", replays_},
            {"regions", session_.regions()},
            {"rings", session_.rings_in_use()}};
  if (!last_reason_.empty()) json["last_reason"] = last_reason_;
  if (!problem.empty()) json["problem"] = problem;
  return json;
}

}  // namespace vmlane::keeper
