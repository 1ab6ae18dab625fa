// SPDX-License-Identifier: Apache-2.0
#include "dataplane/uplink_port.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "dataplane/frame.h"

namespace vmlane::dataplane {
namespace {

// A look at the tap is a system call. While frames come it is looked at in each round, else this often.
constexpr std::uint64_t kIdleLook = 5000;  // nanoseconds

// Whoever may make a tap makes one by attaching to a name that is free. Only the plugin's is persistent.
Result<> refuse_own_making(const Fd& fd, const std::string& tap) {
  ifreq attached{};
  if (::ioctl(fd.get(), TUNGETIFF, &attached) != 0)
    return fail(kernel_error("cannot look at uplink tap " + tap, errno));
  if ((static_cast<unsigned>(attached.ifr_flags) & IFF_PERSIST) != 0) return {};
  return fail(Code::kNotFound, "uplink tap " + tap + " does not exist",
              "the next ADD on its network makes it");
}

Result<Fd> attach(const std::string& tap) {
  if (::if_nametoindex(tap.c_str()) == 0)
    return fail(Code::kNotFound, "uplink tap " + tap + " does not exist",
                "the next ADD on its network makes it");
  Fd fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return fail(kernel_error("cannot open /dev/net/tun", errno));
  ifreq request{};
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;
  tap.copy(request.ifr_name, sizeof request.ifr_name - 1);
  if (::ioctl(fd.get(), TUNSETIFF, &request) != 0) {
    Error error = kernel_error("cannot attach to uplink tap " + tap, errno);
    error.details = "it must exist, be a multi-queue tap and belong to uid " + std::to_string(::geteuid()) +
                    ": the plugin makes it for the node config's \"switchUid\" (" + error.details + ")";
    return fail(std::move(error));
  }
  VMLANE_TRY(refuse_own_making(fd, tap));
  int length = sizeof(VirtioHeader);
  if (::ioctl(fd.get(), TUNSETVNETHDRSZ, &length) != 0)
    return fail(kernel_error("cannot set the header length of tap " + tap, errno));
  if (::ioctl(fd.get(), TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) != 0)
    return fail(kernel_error("cannot switch the offloads of tap " + tap + " on", errno));
  return fd;
}

}  // namespace

Result<std::unique_ptr<UplinkPort>> UplinkPort::open(const std::string& tap, rte_mempool* pool, int epoll,
                                                     std::function<void()> lost) {
  VMLANE_ASSIGN(Fd fd, attach(tap));
  epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
  if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd.get(), &event) != 0)
    return fail(kernel_error("cannot watch tap " + tap, errno));
  return std::unique_ptr<UplinkPort>(new UplinkPort(tap, std::move(fd), pool, epoll, std::move(lost)));
}

UplinkPort::UplinkPort(std::string tap, Fd fd, rte_mempool* pool, int epoll, std::function<void()> lost)
    : Port(std::move(tap)),
      fd_(std::move(fd)),
      pool_(pool),
      epoll_(epoll),
      lost_(std::move(lost)),
      overflow_(kMaxFrame) {}

UplinkPort::~UplinkPort() {
  ::epoll_ctl(epoll_, EPOLL_CTL_DEL, fd_.get(), nullptr);
}

// Null when there is none, or none that is of use.
rte_mbuf* UplinkPort::read_frame() {
  FramePtr frame(rte_pktmbuf_alloc(pool_));
  VirtioHeader header;
  const std::uint16_t room = frame ? rte_pktmbuf_tailroom(frame.get()) : std::uint16_t{0};
  std::array<iovec, 3> parts = {{{&header, sizeof header},
                                 {frame ? rte_pktmbuf_mtod(frame.get(), void*) : nullptr, room},
                                 {overflow_.data(), overflow_.size()}}};
  const ssize_t size = ::readv(fd_.get(), parts.data(), static_cast<int>(parts.size()));
  if (size < 0 && errno != EAGAIN && linked_) {
    // The tap was deleted. Its descriptor would be ready for ever.
    linked_ = false;
    ::epoll_ctl(epoll_, EPOLL_CTL_DEL, fd_.get(), nullptr);
    lost_();
  }
  busy_ = size >= 0;
  if (size < static_cast<ssize_t>(sizeof header)) return nullptr;
  const auto length = static_cast<std::uint32_t>(static_cast<std::size_t>(size) - sizeof header);
  counters.received++;
  counters.received_bytes += length;
  if (!frame) {
    drop(DropReason::kNoBuffer);
    return nullptr;
  }
  const std::uint32_t first = std::min<std::uint32_t>(length, room);
  frame->data_len = static_cast<std::uint16_t>(first);
  frame->pkt_len = first;
  if (!append(*frame, std::span(overflow_).first(length - first), *pool_)) {
    drop(DropReason::kNoBuffer);
    return nullptr;
  }
  const bool partial = (header.flags & VirtioHeader::kNeedsChecksum) != 0;
  const std::uint16_t segment =
      header.gso_type == VirtioHeader::kGsoNone ? std::uint16_t{0} : header.gso_size;
  if (!set_offloads(*frame, parse_headers(head_of(frame.get())), partial, segment)) {
    drop(DropReason::kMalformed);
    return nullptr;
  }
  return frame.release();
}

unsigned UplinkPort::receive(std::span<rte_mbuf*> frames, std::uint64_t now) {
  if (!linked_ || (!busy_ && now < next_look_)) return 0;
  unsigned count = 0;
  for (std::size_t i = 0; i < frames.size(); i++) {
    if (rte_mbuf* frame = read_frame()) frames[count++] = frame;
    if (!busy_) break;
  }
  busy_ = count != 0;
  next_look_ = now + kIdleLook;
  return count;
}

bool UplinkPort::write_frame(const rte_mbuf& frame) {
  constexpr std::size_t kMaxParts = 64;
  VirtioHeader header = virtio_header(frame);
  std::array<iovec, kMaxParts> parts;
  parts[0] = {&header, sizeof header};
  std::size_t count = 1;
  for (const rte_mbuf* part = &frame; part != nullptr; part = part->next) {
    if (count == kMaxParts) return false;
    parts[count++] = {rte_pktmbuf_mtod(part, void*), part->data_len};
  }
  return ::writev(fd_.get(), parts.data(), static_cast<int>(count)) >= 0;
}

void UplinkPort::send(std::span<rte_mbuf*> frames) {
  for (rte_mbuf* frame : frames) {
    if (linked_ && write_frame(*frame)) {
      counters.sent++;
      counters.sent_bytes += frame->pkt_len;
    } else {
      drop(DropReason::kNoRoom);
    }
    rte_pktmbuf_free(frame);
  }
}

}  // namespace vmlane::dataplane
