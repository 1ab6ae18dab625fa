// SPDX-License-Identifier: Apache-2.0
#include "dataplane/vhost_port.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "core/vhost_user.h"
#include "dataplane/frame.h"
#include "dataplane/offload.h"

namespace vmlane::dataplane {
namespace {

constexpr std::uint64_t feature(unsigned bit) {
  return std::uint64_t{1} << bit;
}

// Feature bits of virtio 1.1, 5.1.3 and 6; the kernel's header of them is no C++.
constexpr std::uint64_t kGuestChecksum = feature(1);
constexpr std::uint64_t kGuestTso4 = feature(7);
constexpr std::uint64_t kGuestTso6 = feature(8);
constexpr std::uint64_t kGuestEcn = feature(9);
constexpr std::uint64_t kGuestUfo = feature(10);
constexpr std::uint64_t kHostEcn = feature(13);
constexpr std::uint64_t kHostUfo = feature(14);
constexpr std::uint64_t kAccessPlatform = feature(33);
constexpr std::uint64_t kRingPacked = feature(34);

// What guests are not offered. Packed rings do not survive the loss of the switch: nothing in the guest's
// memory says how far it came. UDP segments and ECN within segments would have to be cut for receivers
// without them; guests do that themselves then.
constexpr std::uint64_t kRefusedFeatures =
    kRingPacked | kGuestUfo | kHostUfo | kGuestEcn | kHostEcn | kAccessPlatform;

constexpr std::size_t kMostRegions = 8;  // lib/vhost takes no more

// Ports by socket: lib/vhost's callbacks name that.
struct Registry {
  std::mutex mutex;
  std::map<std::string, VhostPort*, std::less<>> ports;
};

Registry& registry() {
  static Registry instance;
  return instance;
}

VhostPort* port_of(int device) {
  std::array<char, PATH_MAX> name{};
  if (rte_vhost_get_ifname(device, name.data(), name.size()) != 0) return nullptr;
  Registry& known = registry();
  const std::lock_guard lock(known.mutex);
  const auto found = known.ports.find(std::string_view(name.data()));
  return found == known.ports.end() ? nullptr : found->second;
}

}  // namespace

struct VhostCallbacks {
  static int new_device(int device) {
    VhostPort* port = port_of(device);
    if (port == nullptr) return -1;
    port->device_ready(device);
    return 0;
  }
  static void destroy_device(int device) {
    if (VhostPort* port = port_of(device)) port->device_gone();
  }
  static int vring_state_changed(int device, std::uint16_t ring, int ready) {
    if (VhostPort* port = port_of(device)) port->ring_changed(ring, ready != 0);
    return 0;
  }
  static int new_connection(int device) {
    static const rte_vhost_user_extern_ops messages = {.pre_msg_handle = message,
                                                       .post_msg_handle = message_handled};
    VhostPort* port = port_of(device);
    if (port == nullptr) return 0;
    port->connection_changed(true);
    return rte_vhost_extern_callback_register(device, &messages, nullptr);
  }
  static rte_vhost_msg_result message_handled(int device, void* /*message*/) {
    if (VhostPort* port = port_of(device)) port->message_handled();
    return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
  }
  // lib/vhost would make a RARP frame of SEND_RARP, and keep it until the guest sends something. The message
  // is as it was on the socket.
  static rte_vhost_msg_result message(int device, void* bytes) {
    VhostPort* port = port_of(device);
    if (port == nullptr) return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
    port->message_begins();
    struct {
      vhost_user::Header header;
      std::uint8_t payload[sizeof(std::uint64_t)];
    } message;
    static_assert(sizeof message == sizeof(vhost_user::Header) + sizeof(std::uint64_t));
    std::memcpy(&message, bytes, sizeof message);
    if (message.header.request != static_cast<std::uint32_t>(vhost_user::Request::kSendRarp))
      return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
    if (message.header.size != sizeof message.payload) return RTE_VHOST_MSG_RESULT_ERR;
    MacAddress mac;
    std::memcpy(mac.bytes.data(), message.payload, mac.bytes.size());
    port->surroundings_.announce(mac);
    return RTE_VHOST_MSG_RESULT_OK;
  }
  static void destroy_connection(int device) {
    if (VhostPort* port = port_of(device)) port->connection_changed(false);
  }
};

VhostPort::VhostPort(std::string name, std::filesystem::path socket, const Surroundings& surroundings)
    : Port(std::move(name)), socket_(std::move(socket)), surroundings_(surroundings) {
  Registry& known = registry();
  const std::lock_guard lock(known.mutex);
  known.ports[socket_.native()] = this;
}

VhostPort::~VhostPort() {
  stop();
  // What lib/vhost's thread left there may name this port.
  surroundings_.worker.run([] {});
  Registry& known = registry();
  const std::lock_guard lock(known.mutex);
  known.ports.erase(socket_.native());
}

void VhostPort::stop() {
  if (registered_) rte_vhost_driver_unregister(socket_.c_str());
  registered_ = false;
  connected_ = false;
  lost_ = false;
}

Result<> VhostPort::start() {
  static const rte_vhost_device_ops callbacks = {
      .new_device = VhostCallbacks::new_device,
      .destroy_device = VhostCallbacks::destroy_device,
      .vring_state_changed = VhostCallbacks::vring_state_changed,
      .features_changed = nullptr,
      .new_connection = VhostCallbacks::new_connection,
      .destroy_connection = VhostCallbacks::destroy_connection,
      .guest_notified = nullptr,
      .reserved = {},
  };
  // Without its own reconnecting: that looks once a second. The control thread knows better when.
  constexpr std::uint64_t kFlags =
      RTE_VHOST_USER_CLIENT | RTE_VHOST_USER_NO_RECONNECT | RTE_VHOST_USER_NET_COMPLIANT_OL_FLAGS;
  const char* path = socket_.c_str();
  if (rte_vhost_driver_register(path, kFlags) != 0)
    return fail(Code::kInternal, "lib/vhost takes no more sockets");
  registered_ = true;
  if (rte_vhost_driver_disable_features(path, kRefusedFeatures) != 0 ||
      rte_vhost_driver_callback_register(path, &callbacks) != 0)
    return fail(Code::kInternal, "lib/vhost refuses the port's settings");
  if (rte_vhost_driver_start(path) != 0)
    return fail(Code::kTryAgain, "nobody listens on " + socket_.string());
  return {};
}

bool VhostPort::connect() {
  if (registered_ && !lost_) return true;
  stop();
  struct stat status {};
  if (::stat(socket_.c_str(), &status) != 0) {
    error_ = errno == ENOENT ? "" : "cannot look at " + socket_.string() + ": " + std::strerror(errno);
    return false;
  }
  if (!S_ISSOCK(status.st_mode)) {
    error_ = socket_.string() + " is not a socket";
    return false;
  }
  if (::faccessat(AT_FDCWD, socket_.c_str(), W_OK, AT_EACCESS) != 0) {
    error_ = "no permission to connect to " + socket_.string() + " as uid " + std::to_string(::geteuid()) +
             ": QEMU must run with umask 002 and the switch in its group";
    return false;
  }
  if (const auto started = start(); !started) {
    stop();
    error_ = started.error().code == Code::kTryAgain ? "" : started.error().text();
    return false;
  }
  error_.clear();
  return true;
}

VhostPort::State VhostPort::state() const {
  if (running_) return State::kRunning;
  if (connected_) return State::kConnected;
  return error_.empty() ? State::kWaiting : State::kRefused;
}

void VhostPort::connection_changed(bool connected) {
  connected_ = connected;
  if (!connected) lost_ = true;
  surroundings_.changed();
}

void VhostPort::device_ready(int device) {
  running_ = true;
  in_message_ = false;
  surroundings_.worker.post([this, device] {
    device_ = device;
    epoch_++;
  });
  surroundings_.changed();
}

void VhostPort::device_gone() {
  running_ = false;
  for (auto& ready : ready_) ready = false;
  // The rings are unmapped after this.
  surroundings_.worker.run([this] {
    device_ = -1;
    from_guest_.clear();
    to_guest_.clear();
    unwatch_kicks();
    pairs_ = 0;
    fault_ = RingFault::kNone;
    vain_seconds_ = 0;
  });
  surroundings_.changed();
}

// With the ring's lock held, for which the worker may be waiting: nothing here may wait for the worker.
void VhostPort::ring_changed(unsigned ring, bool ready) {
  if (ring >= kMaxRings) return;
  ready_[ring] = ready;
  epoch_++;
  surroundings_.worker.wake();
}

void VhostPort::message_begins() {
  in_message_ = true;
  while (in_audit_) rte_pause();
}

// While a message is carried out the rings are locked, and lib/vhost's dequeue then says that they are empty.
// A guest's notification that came in that time would have been for nothing.
void VhostPort::message_handled() {
  in_message_ = false;
  if (!running_) return;
  messages_++;
  surroundings_.worker.wake();
}

void VhostPort::look_again() {
  seen_messages_ = messages_;
  // Waits for the lock.
  for (const std::uint16_t ring : from_guest_)
    rte_vhost_enable_guest_notification(device_, ring, armed_ ? 1 : 0);
}

void VhostPort::refresh() {
  seen_epoch_ = epoch_;
  if (device_ < 0 || fault() != RingFault::kNone) return;
  std::uint64_t features = 0;
  rte_vhost_get_negotiated_features(device_, &features);
  features_ = features;
  offloads_ = {.checksum = (features & kGuestChecksum) != 0,
               .tso4 = (features & kGuestTso4) != 0,
               .tso6 = (features & kGuestTso6) != 0};
  from_guest_.clear();
  to_guest_.clear();
  // From the guest's point of view: even rings receive, odd ones transmit.
  for (std::uint16_t ring = 0; ring < kMaxRings; ring++) {
    if (!ready_[ring]) continue;
    (ring % 2 == 0 ? to_guest_ : from_guest_).push_back(ring);
    // Also between arm() and disarm(), when the worker is about to block.
    rte_vhost_enable_guest_notification(device_, ring, armed_ ? 1 : 0);
    // A switch that was here before may have died between filling a ring and saying so.
    rte_vhost_vring_call(device_, ring);
  }
  pairs_ = static_cast<unsigned>(from_guest_.size());
  watch_kicks();
}

// A descriptor may have been replaced by another under the same number, so all are watched anew.
void VhostPort::watch_kicks() {
  unwatch_kicks();
  for (const std::uint16_t ring : from_guest_) {
    rte_vhost_vring vring{};
    if (rte_vhost_get_vhost_vring(device_, ring, &vring) != 0 || vring.kickfd < 0) continue;
    epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.ptr = this}};
    if (::epoll_ctl(surroundings_.epoll, EPOLL_CTL_ADD, vring.kickfd, &event) == 0)
      kicks_.push_back(vring.kickfd);
  }
}

void VhostPort::unwatch_kicks() {
  for (const int kick : kicks_) ::epoll_ctl(surroundings_.epoll, EPOLL_CTL_DEL, kick, nullptr);
  kicks_.clear();
}

// False for a frame that is not what its sender says.
bool VhostPort::accept(rte_mbuf& frame) {
  constexpr std::uint64_t kSegmented = RTE_MBUF_F_RX_LRO;
  const bool partial = (frame.ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_NONE;
  const std::uint16_t segment = (frame.ol_flags & kSegmented) != 0 ? frame.tso_segsz : std::uint16_t{0};
  counters.received++;
  counters.received_bytes += frame.pkt_len;
  return set_offloads(frame, parse_headers(head_of(&frame)), partial, segment);
}

void VhostPort::let_go(RingFault fault) {
  if (fault_ != RingFault::kNone) return;
  fault_ = fault;
  faults_++;
  from_guest_.clear();
  to_guest_.clear();
  unwatch_kicks();
  surroundings_.changed();
}

void VhostPort::forgive() {
  fault_ = RingFault::kNone;
  vain_seconds_ = 0;
  epoch_++;
}

void VhostPort::audit(std::span<const std::uint16_t> rings) {
  // In this order on both sides, so that one of them sees the other.
  in_audit_ = true;
  RingFault found = RingFault::kNone;
  rte_vhost_memory* memory = nullptr;
  for (std::size_t i = 0; i < rings.size() && found == RingFault::kNone && !in_message_; i++) {
    rte_vhost_vring vring{};
    RingView view;
    std::uint16_t used = 0;
    if (rte_vhost_get_vhost_vring(device_, rings[i], &vring) != 0 || vring.avail == nullptr ||
        vring.desc == nullptr || vring.size == 0 ||
        rte_vhost_get_vring_base(device_, rings[i], &view.taken, &used) != 0)
      continue;
    view.descriptors = reinterpret_cast<const RingView::Descriptor*>(vring.desc);
    view.available = reinterpret_cast<const std::uint16_t*>(vring.avail);
    view.size = vring.size;
    if (!view.pending()) continue;
    if (memory == nullptr && rte_vhost_get_mem_table(device_, &memory) != 0) break;
    std::array<GuestRegion, kMostRegions> regions;
    const std::size_t count = std::min<std::size_t>(memory->nregions, regions.size());
    for (std::size_t j = 0; j < count; j++) {
      const rte_vhost_mem_region& region = memory->regions[j];
      regions[j] = {.guest = region.guest_phys_addr,
                    .host = reinterpret_cast<const std::uint8_t*>(region.host_user_addr),
                    .size = region.size};
    }
    view.memory = std::span(regions).first(count);
    found = view.fault();
  }
  in_audit_ = false;
  ::free(memory);
  if (found != RingFault::kNone) let_go(found);
}

void VhostPort::kicked(std::uint64_t now) {
  constexpr std::uint64_t kSecond = 1'000'000'000;
  constexpr std::uint64_t kFewFrames = 8;  // less than one for so many notifications
  if (now - kicks_since_ >= kSecond) {
    const bool vain = now - kicks_since_ < 2 * kSecond && kicks_seen_ >= kVainKicks &&
                      counters.received - received_before_ < kicks_seen_ / kFewFrames;
    vain_seconds_ = vain ? vain_seconds_ + 1 : 0;
    kicks_since_ = now;
    kicks_seen_ = 0;
    received_before_ = counters.received;
    if (vain_seconds_ >= kVainSeconds) return let_go(RingFault::kKicks);
  }
  kicks_seen_++;
}

unsigned VhostPort::receive(std::span<rte_mbuf*> frames, std::uint64_t now) {
  if (seen_epoch_ != epoch_.load(std::memory_order_relaxed)) refresh();
  if (from_guest_.empty()) return 0;
  if (seen_messages_ != messages_.load(std::memory_order_relaxed)) look_again();
  // One ring a call, in turn: no ring waits for another's flood.
  unsigned count = 0;
  for (std::size_t tried = 0; tried < from_guest_.size() && count == 0; tried++) {
    const std::uint16_t ring = from_guest_[next_ring_++ % from_guest_.size()];
    count = rte_vhost_dequeue_burst(device_, ring, surroundings_.pool, frames.data(),
                                    static_cast<std::uint16_t>(frames.size()));
  }
  // lib/vhost says of no ring why nothing comes out of it.
  if (count == 0 ? now >= next_audit_ : ++bursts_ % kAuditEvery == 0) {
    next_audit_ = now + kIdleAudit;
    audit(from_guest_);
  }
  unsigned kept = 0;
  for (unsigned i = 0; i < count; i++) {
    if (accept(*frames[i])) {
      frames[kept++] = frames[i];
    } else {
      drop(DropReason::kMalformed);
      rte_pktmbuf_free(frames[i]);
    }
  }
  return kept;
}

// Frames as lib/vhost is to have them. Those for which there was no memory are gone.
std::span<rte_mbuf*> VhostPort::prepared(std::span<rte_mbuf*> frames) {
  for (rte_mbuf*& frame : frames) {
    if ((frame->ol_flags & RTE_MBUF_F_TX_TCP_SEG) == 0) continue;
    FramePtr apart = with_header_apart(FramePtr(frame), *surroundings_.pool);
    frame = apart.release();
  }
  const auto end = std::ranges::remove(frames, nullptr).begin();
  const auto count = static_cast<std::size_t>(end - frames.begin());
  for (std::size_t i = count; i < frames.size(); i++) drop(DropReason::kNoBuffer);
  return frames.first(count);
}

std::size_t VhostPort::send_to(std::uint16_t ring, std::span<rte_mbuf*> frames) {
  const std::uint16_t sent =
      rte_vhost_enqueue_burst(device_, ring, frames.data(), static_cast<std::uint16_t>(frames.size()));
  for (rte_mbuf* frame : frames.first(sent)) {
    counters.sent++;
    counters.sent_bytes += frame->pkt_len;
    rte_pktmbuf_free(frame);
  }
  return sent;
}

void VhostPort::send_by_flow(std::span<rte_mbuf*> frames) {
  const auto drop_all = [this](std::span<rte_mbuf*> rest) {
    for (rte_mbuf* frame : rest) {
      drop(fault() == RingFault::kNone ? DropReason::kNoRoom : DropReason::kQuarantined);
      rte_pktmbuf_free(frame);
    }
  };
  // A flow keeps its ring, and so its order.
  const auto ring_of = [this](rte_mbuf* frame) {
    if (to_guest_.size() == 1) return std::size_t{0};
    const auto head = head_of(frame);
    return flow_hash(head, parse_headers(head)) % to_guest_.size();
  };
  // The guest may have taken a ring back a moment ago, which lib/vhost tells by taking nothing. Then the
  // rings that it has now are tried.
  constexpr int kTries = 3;
  for (int i = 0; i < kTries && !frames.empty(); i++) {
    if (seen_epoch_ != epoch_.load(std::memory_order_acquire)) refresh();
    if (device_ < 0 || to_guest_.empty()) break;
    std::span<rte_mbuf*> left = frames;
    std::size_t kept = 0;  // at the beginning of `frames`: those that no ring took
    for (std::size_t ring = 0; ring < to_guest_.size() && !left.empty(); ring++) {
      const auto rest =
          std::ranges::stable_partition(left, [&](rte_mbuf* frame) { return ring_of(frame) == ring; });
      const auto mine = left.first(static_cast<std::size_t>(rest.begin() - left.begin()));
      left = left.subspan(mine.size());
      if (mine.empty()) continue;
      const std::size_t sent = send_to(to_guest_[ring], mine);
      for (rte_mbuf* frame : mine.subspan(sent)) frames[kept++] = frame;
    }
    frames = frames.first(kept);
    if (seen_epoch_ == epoch_.load(std::memory_order_acquire)) break;
  }
  if (!frames.empty() && device_ >= 0 && refusals_++ % kAuditEvery == 0) audit(to_guest_);
  drop_all(frames);
}

void VhostPort::send(std::span<rte_mbuf*> frames) {
  send_by_flow(prepared(frames));
}

std::uint64_t VhostPort::waiting() const {
  std::uint64_t count = 0;
  for (const std::uint16_t ring : from_guest_) count += rte_vhost_rx_queue_count(device_, ring);
  return count;
}

void VhostPort::arm() {
  armed_ = true;
  // It may block for as long as nobody kicks.
  if (device_ >= 0) audit(from_guest_);
  for (const std::uint16_t ring : from_guest_) rte_vhost_enable_guest_notification(device_, ring, 1);
}

void VhostPort::disarm() {
  armed_ = false;
  for (const std::uint16_t ring : from_guest_) rte_vhost_enable_guest_notification(device_, ring, 0);
}

}  // namespace vmlane::dataplane
