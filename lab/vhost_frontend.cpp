// SPDX-License-Identifier: Apache-2.0
#include "lab/vhost_frontend.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/names.h"

namespace vmlane::lab {
namespace {

using std::chrono::milliseconds;
using vhost_user::Request;
using vhost_user::RingNumber;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kSmallBuffer = 2048;
constexpr std::uint32_t kLargeBuffer = 66 << 10;  // a frame of 64 KiB with its header
constexpr std::uint64_t kPage = 4096;

// Split rings (virtio 1.1, 2.6), whose header of the kernel is no C++.
struct Descriptor {
  static constexpr std::uint16_t kNext = 1;
  static constexpr std::uint16_t kWrite = 2;
  static constexpr std::uint16_t kIndirect = 4;
  std::uint64_t address = 0;
  std::uint32_t length = 0;
  std::uint16_t flags = 0;
  std::uint16_t next = 0;
};
static_assert(sizeof(Descriptor) == 16);

struct UsedElement {
  std::uint32_t id = 0;
  std::uint32_t length = 0;
};

constexpr std::uint16_t kNoNotify = 1;  // in the used ring's flags

// 2.6.7.1: whether the other side wants to know that the index went from `before` to `now`.
bool need_event(std::uint16_t event, std::uint16_t now, std::uint16_t before) {
  return static_cast<std::uint16_t>(now - event - 1) < static_cast<std::uint16_t>(now - before);
}

std::uint64_t page_up(std::uint64_t size) {
  return (size + kPage - 1) / kPage * kPage;
}

std::uint64_t user_address(const void* pointer) {
  return reinterpret_cast<std::uint64_t>(pointer);
}

// The first fields of struct vring_avail and vring_used: flags, index.
constexpr std::uint64_t kIndex = 2;
constexpr std::uint64_t kEntries = 4;

}  // namespace

Result<std::unique_ptr<VhostFrontend>> VhostFrontend::listen(const VhostFrontendOptions& options) {
  std::unique_ptr<VhostFrontend> made(new VhostFrontend(options));
  VMLANE_TRY(made->make_memory());
  VMLANE_TRY(made->make_socket());
  return made;
}

VhostFrontend::~VhostFrontend() {
  for (const Memory& region : regions_) ::munmap(region.bytes.data(), region.bytes.size());
  if (listener_) ::unlink(options_.socket.c_str());
}

Result<> VhostFrontend::make_memory() {
  const unsigned size = options_.ring_size;
  std::uint64_t at = kPage;
  rings_.resize(std::size_t{2} * options_.pairs);
  for (std::size_t i = 0; i < rings_.size(); i++) {
    Ring& ring = rings_[i];
    const bool receives = i % 2 == 0;
    const bool small = receives && (options_.features & VirtioFeatures::kMergeable) != 0;
    ring.descriptors = at;
    ring.available = ring.descriptors + page_up(sizeof(Descriptor) * size);
    ring.used = ring.available + page_up(kEntries + 2 * std::uint64_t{size} + 2);
    ring.indirect = ring.used + page_up(kEntries + sizeof(UsedElement) * size + 2);
    ring.buffers = ring.indirect + page_up(2 * sizeof(Descriptor) * size);
    ring.buffer_size = small ? kSmallBuffer : kLargeBuffer;
    at = ring.buffers + page_up(std::uint64_t{ring.buffer_size} * size);
  }
  VMLANE_ASSIGN(Memory memory, make_shared(at));
  memory_ = memory.bytes;
  regions_.push_back(std::move(memory));
  empty_rings();
  return {};
}

Result<VhostFrontend::Memory> VhostFrontend::make_shared(std::size_t bytes) {
  Memory memory{.descriptor = Fd(::memfd_create("vmlane-guest", MFD_CLOEXEC))};
  if (!memory.descriptor || ::ftruncate(memory.descriptor.get(), static_cast<off_t>(bytes)) != 0)
    return fail(io_error("cannot make " + std::to_string(bytes) + " bytes of shared memory", errno));
  void* mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory.descriptor.get(), 0);
  if (mapped == MAP_FAILED) return fail(io_error("cannot map the shared memory", errno));
  memory.bytes = {static_cast<std::uint8_t*>(mapped), bytes};
  return memory;
}

// As a driver has them before it offers a buffer.
void VhostFrontend::empty_rings() {
  for (Ring& ring : rings_) {
    std::fill(memory_.begin() + static_cast<std::ptrdiff_t>(ring.descriptors),
              memory_.begin() + static_cast<std::ptrdiff_t>(ring.buffers), std::uint8_t{0});
    ring.next = ring.last_used = 0;
    ring.free.clear();
    for (unsigned index = options_.ring_size; index > 0; index--)
      ring.free.push_back(static_cast<std::uint16_t>(index - 1));
  }
  rings_filled_ = false;
}

Result<> VhostFrontend::make_socket() {
  const auto& path = options_.socket.native();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() > names::kMaxSocketPath)
    return fail(Code::kInvalidConfig, "socket path " + path + " is longer than 107 bytes");
  std::ranges::copy(path, address.sun_path);
  ::unlink(path.c_str());
  Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!listener) return fail(io_error("cannot make a socket", errno));
  if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return fail(io_error("cannot make " + path, errno));
  listener_ = std::move(listener);
  if (::chmod(path.c_str(), options_.socket_mode) != 0)
    return fail(io_error("cannot set the mode of " + path, errno));
  if (::listen(listener_.get(), 1) != 0) return fail(io_error("cannot listen on " + path, errno));
  return {};
}

Result<> VhostFrontend::accept_only(milliseconds timeout) {
  pollfd waiting{.fd = listener_.get(), .events = POLLIN, .revents = 0};
  if (::poll(&waiting, 1, static_cast<int>(timeout.count())) <= 0)
    return fail(Code::kTryAgain, "no switch connected to " + options_.socket.string());
  connection_ = Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!connection_) return fail(io_error("cannot accept a connection", errno));
  return {};
}

Result<> VhostFrontend::accept(milliseconds timeout) {
  VMLANE_TRY(accept_only(timeout));
  auto done = handshake();
  if (!done) connection_ = Fd();
  return done;
}

Result<> VhostFrontend::send_message(vhost_user::Request request, std::span<const std::uint8_t> payload,
                                     std::span<const int> descriptors) {
  vhost_user::Header header{.request = static_cast<std::uint32_t>(request),
                            .size = static_cast<std::uint32_t>(payload.size())};
  std::vector<std::uint8_t> message(sizeof header + payload.size());
  std::memcpy(message.data(), &header, sizeof header);
  std::ranges::copy(payload, message.begin() + sizeof header);
  iovec part{message.data(), message.size()};
  msghdr packet{};
  packet.msg_iov = &part;
  packet.msg_iovlen = 1;
  std::vector<std::uint8_t> control(CMSG_SPACE(sizeof(int) * descriptors.size()));
  if (!descriptors.empty()) {
    packet.msg_control = control.data();
    packet.msg_controllen = control.size();
    cmsghdr* rights = CMSG_FIRSTHDR(&packet);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * descriptors.size());
    std::memcpy(CMSG_DATA(rights), descriptors.data(), sizeof(int) * descriptors.size());
  }
  const ssize_t sent = ::sendmsg(connection_.get(), &packet, MSG_NOSIGNAL);
  if (sent == static_cast<ssize_t>(message.size())) return {};
  return fail(io_error("the switch took no message", sent < 0 ? errno : EIO));
}

template <class Payload>
Result<> VhostFrontend::tell(vhost_user::Request request, const Payload& payload,
                             std::span<const int> descriptors) {
  return send_message(request, {reinterpret_cast<const std::uint8_t*>(&payload), sizeof payload},
                      descriptors);
}

// A message without payload that is answered by one number.
Result<std::uint64_t> VhostFrontend::ask(vhost_user::Request request) {
  VMLANE_TRY(send_message(request, {}));
  struct {
    vhost_user::Header header;
    std::uint32_t low = 0;
    std::uint32_t high = 0;
  } reply;
  constexpr int kPatience = 5000;
  pollfd waiting{.fd = connection_.get(), .events = POLLIN, .revents = 0};
  if (::poll(&waiting, 1, kPatience) <= 0) return fail(Code::kTryAgain, "the switch gives no answer");
  if (::recv(connection_.get(), &reply, sizeof reply, MSG_WAITALL) != sizeof reply)
    return fail(io_error("the switch ended the connection", ECONNRESET));
  constexpr unsigned kHalf = 32;
  return std::uint64_t{reply.high} << kHalf | reply.low;
}

Result<> VhostFrontend::handshake() {
  VMLANE_TRY(send_message(Request::kSetOwner, {}));
  return start_device();
}

Result<> VhostFrontend::start_device() {
  VMLANE_ASSIGN(const std::uint64_t offered, ask(Request::kGetFeatures));
  features_ = offered & options_.features;
  if (has(VirtioFeatures::kProtocol)) {
    VMLANE_ASSIGN(const std::uint64_t protocol, ask(Request::kGetProtocolFeatures));
    VMLANE_TRY(tell(Request::kSetProtocolFeatures, protocol & (vhost_user::ProtocolFeatures::kMultiQueue |
                                                               vhost_user::ProtocolFeatures::kRarp)));
  }
  VMLANE_TRY(tell(Request::kSetFeatures, features_));
  VMLANE_TRY(hand_over_memory());
  for (unsigned i = 0; i < rings_.size(); i++) VMLANE_TRY(hand_over_ring(i));
  for (unsigned i = 0; i < rings_.size() && has(VirtioFeatures::kProtocol); i++)
    VMLANE_TRY(tell(Request::kSetRingEnable, RingNumber{i, 1}));
  // Its answer comes after all that was told before has been done.
  VMLANE_TRY(ask(Request::kGetFeatures));
  if (rings_filled_) return {};
  rings_filled_ = true;
  for (std::size_t i = 0; i < rings_.size(); i += 2) {
    while (!rings_[i].free.empty()) {
      const std::uint16_t index = rings_[i].free.back();
      rings_[i].free.pop_back();
      offer(rings_[i], index);
    }
  }
  return {};
}

Result<> VhostFrontend::hand_over_memory() {
  vhost_user::MemoryTable table{.count = static_cast<std::uint32_t>(regions_.size())};
  std::vector<int> descriptors;
  std::uint64_t guest_address = 0;
  for (std::size_t i = 0; i < regions_.size(); i++) {
    const Memory& region = regions_[i];
    table.regions[i] = {.guest_address = guest_address,
                        .size = region.bytes.size(),
                        .user_address = user_address(region.bytes.data())};
    guest_address += region.bytes.size();
    descriptors.push_back(region.descriptor.get());
  }
  return send_message(
      Request::kSetMemTable,
      {reinterpret_cast<const std::uint8_t*>(&table), vhost_user::MemoryTable::bytes(table.count)},
      descriptors);
}

Result<> VhostFrontend::plug_memory(std::size_t bytes) {
  if (regions_.size() == vhost_user::kMaxRegions) return fail(Code::kInvalidConfig, "the VM has 8 regions");
  VMLANE_ASSIGN(Memory memory, make_shared(bytes));
  regions_.push_back(std::move(memory));
  VMLANE_TRY(hand_over_memory());
  VMLANE_TRY(ask(Request::kGetFeatures));
  return {};
}

Result<> VhostFrontend::use_pairs(unsigned pairs) {
  for (std::uint32_t i = 0; i < rings_.size(); i++)
    VMLANE_TRY(tell(Request::kSetRingEnable, RingNumber{i, i / 2 < pairs ? 1U : 0U}));
  VMLANE_TRY(ask(Request::kGetFeatures));
  return {};
}

Result<> VhostFrontend::ask_for_announcement(const std::array<std::uint8_t, 6>& mac) {
  std::array<std::uint8_t, sizeof(std::uint64_t)> payload{};
  std::ranges::copy(mac, payload.begin());
  return send_message(Request::kSendRarp, payload);
}

Result<> VhostFrontend::restart_driver(std::uint64_t features) {
  VMLANE_TRY(take_back());
  empty_rings();
  options_.features = features;
  return start_device();
}

Result<> VhostFrontend::hand_over_ring(unsigned index) {
  Ring& ring = rings_[index];
  ring.kick = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  ring.call = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!ring.kick || !ring.call) return fail(kernel_error("cannot make event descriptors", errno));
  VMLANE_TRY(tell(Request::kSetRingSize, RingNumber{index, options_.ring_size}));
  // What was not used yet is done again, as a restarted device does.
  VMLANE_TRY(tell(Request::kSetRingBase, RingNumber{index, load(ring.used + kIndex)}));
  VMLANE_TRY(tell(Request::kSetRingAddress,
                  vhost_user::RingAddress{.index = index,
                                          .descriptors = user_address(&memory_[ring.descriptors]),
                                          .used = user_address(&memory_[ring.used]),
                                          .available = user_address(&memory_[ring.available])}));
  const std::array<int, 1> kick = {ring.kick.get()};
  const std::array<int, 1> call = {ring.call.get()};
  VMLANE_TRY(tell(Request::kSetRingCall, std::uint64_t{index}, call));
  return tell(Request::kSetRingKick, std::uint64_t{index}, kick);
}

Result<> VhostFrontend::take_back() {
  for (unsigned i = 0; i < rings_.size(); i++) {
    VMLANE_TRY(tell(Request::kGetRingBase, RingNumber{i, 0}));
    struct {
      vhost_user::Header header;
      RingNumber base;
    } reply;
    if (::recv(connection_.get(), &reply, sizeof reply, MSG_WAITALL) != sizeof reply)
      return fail(io_error("the switch ended the connection", ECONNRESET));
  }
  return {};
}

void VhostFrontend::disconnect() {
  connection_ = Fd();
}

bool VhostFrontend::connected() {
  if (!connection_) return false;
  std::uint8_t byte = 0;
  const ssize_t got = ::recv(connection_.get(), &byte, sizeof byte, MSG_PEEK | MSG_DONTWAIT);
  return got > 0 || (got < 0 && errno == EAGAIN);
}

std::uint16_t VhostFrontend::load(std::uint64_t address) const {
  auto* place = reinterpret_cast<std::uint16_t*>(&memory_[address]);
  return std::atomic_ref(*place).load(std::memory_order_acquire);
}

void VhostFrontend::store(std::uint64_t address, std::uint16_t value) const {
  auto* place = reinterpret_cast<std::uint16_t*>(&memory_[address]);
  std::atomic_ref(*place).store(value, std::memory_order_release);
}

// Makes a descriptor chain available, and notifies the switch if it asks for that.
void VhostFrontend::publish(Ring& ring, std::uint16_t head) {
  const unsigned size = options_.ring_size;
  const std::uint16_t before = ring.next++;
  store(ring.available + kEntries + 2 * std::uint64_t{before % size}, head);
  store(ring.available + kIndex, ring.next);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  bool wanted = (load(ring.used) & kNoNotify) == 0;
  if (has(VirtioFeatures::kEventIndex)) {
    const std::uint16_t event = load(ring.used + kEntries + sizeof(UsedElement) * size);
    wanted = need_event(event, ring.next, before);
  }
  if (!wanted) return;
  kicks_++;
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(ring.kick.get(), &one, sizeof one);
}

// Gives the switch a buffer to fill.
void VhostFrontend::offer(Ring& ring, std::uint16_t index) {
  const Descriptor descriptor{.address = ring.buffers + std::uint64_t{ring.buffer_size} * index,
                              .length = ring.buffer_size,
                              .flags = Descriptor::kWrite,
                              .next = 0};
  std::memcpy(&memory_[ring.descriptors + sizeof descriptor * index], &descriptor, sizeof descriptor);
  publish(ring, index);
}

void VhostFrontend::reclaim(Ring& ring) {
  const std::uint16_t used = load(ring.used + kIndex);
  for (; ring.last_used != used; ring.last_used++) {
    UsedElement element;
    const std::uint64_t slot = ring.last_used % options_.ring_size;
    std::memcpy(&element, &memory_[ring.used + kEntries + sizeof element * slot], sizeof element);
    ring.free.push_back(static_cast<std::uint16_t>(element.id));
  }
}

bool VhostFrontend::send(std::span<const std::uint8_t> frame, const VirtioNetHeader& header, unsigned pair) {
  Ring& ring = rings_[2 * std::size_t{pair} + 1];
  reclaim(ring);
  if (ring.free.empty() || sizeof header + frame.size() > ring.buffer_size) return false;
  const std::uint16_t index = ring.free.back();
  ring.free.pop_back();
  const std::uint64_t buffer = ring.buffers + std::uint64_t{ring.buffer_size} * index;
  std::memcpy(&memory_[buffer], &header, sizeof header);
  std::ranges::copy(frame, memory_.begin() + static_cast<std::ptrdiff_t>(buffer + sizeof header));
  Descriptor descriptor{.address = buffer,
                        .length = static_cast<std::uint32_t>(sizeof header + frame.size()),
                        .flags = 0,
                        .next = 0};
  if (options_.indirect && has(VirtioFeatures::kIndirect)) {
    // Header and frame apart.
    const std::array<Descriptor, 2> parts = {
        {{buffer, sizeof header, Descriptor::kNext, 1},
         {buffer + sizeof header, static_cast<std::uint32_t>(frame.size()), 0, 0}}};
    const std::uint64_t table = ring.indirect + sizeof parts * index;
    std::memcpy(&memory_[table], parts.data(), sizeof parts);
    descriptor = {.address = table, .length = sizeof parts, .flags = Descriptor::kIndirect, .next = 0};
  }
  std::memcpy(&memory_[ring.descriptors + sizeof descriptor * index], &descriptor, sizeof descriptor);
  publish(ring, index);
  return true;
}

std::optional<ReceivedFrame> VhostFrontend::receive(unsigned pair) {
  Ring& ring = rings_[2 * std::size_t{pair}];
  if (load(ring.used + kIndex) == ring.last_used) return std::nullopt;
  ReceivedFrame frame;
  unsigned buffers = 1;
  for (unsigned i = 0; i < buffers; i++, ring.last_used++) {
    UsedElement element;
    const std::uint64_t slot = ring.last_used % options_.ring_size;
    std::memcpy(&element, &memory_[ring.used + kEntries + sizeof element * slot], sizeof element);
    const std::uint64_t buffer = ring.buffers + std::uint64_t{ring.buffer_size} * element.id;
    std::span<const std::uint8_t> bytes = memory_.subspan(buffer, element.length);
    if (i == 0) {
      std::memcpy(&frame.header, bytes.data(), sizeof frame.header);
      bytes = bytes.subspan(sizeof frame.header);
      if (has(VirtioFeatures::kMergeable)) buffers = frame.header.buffers;
    }
    frame.bytes.insert(frame.bytes.end(), bytes.begin(), bytes.end());
    offer(ring, static_cast<std::uint16_t>(element.id));
  }
  return frame;
}

// Asks to be called for the next frame, and waits for that.
bool VhostFrontend::wait_for_call(Ring& ring, milliseconds timeout) {
  if (has(VirtioFeatures::kEventIndex))
    store(ring.available + kEntries + 2 * std::uint64_t{options_.ring_size}, ring.last_used);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (load(ring.used + kIndex) != ring.last_used) return true;
  pollfd waiting{.fd = ring.call.get(), .events = POLLIN, .revents = 0};
  if (::poll(&waiting, 1, static_cast<int>(timeout.count())) <= 0) return false;
  std::uint64_t count = 0;
  [[maybe_unused]] const auto got = ::read(ring.call.get(), &count, sizeof count);
  return true;
}

std::optional<ReceivedFrame> VhostFrontend::receive_within(milliseconds timeout, unsigned pair) {
  const auto deadline = Clock::now() + timeout;
  for (;;) {
    if (auto frame = receive(pair)) return frame;
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return std::nullopt;
    wait_for_call(rings_[2 * std::size_t{pair}], left);
  }
}

std::optional<ReceivedFrame> VhostFrontend::spin_within(std::chrono::nanoseconds timeout, unsigned pair) {
  const auto deadline = Clock::now() + timeout;
  do {
    if (auto frame = receive(pair)) return frame;
  } while (Clock::now() < deadline);
  return std::nullopt;
}

}  // namespace vmlane::lab
