// SPDX-License-Identifier: Apache-2.0
#include "tests/support/guest.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <thread>

#include "tests/support/host.h"

namespace vmlane::test {
namespace {

constexpr uid_t kVmUid = 107;  // KubeVirt's launcher
// struct virtio_net_hdr without num_buffers, a tap's default; linux/virtio_net.h does not compile as C++.
constexpr std::size_t kVnetHeader = 10;

// Tells `channel` an errno, and with 0 passes the descriptor.
void send_descriptor(int channel, int fd, int error) {
  iovec data{&error, sizeof error};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (error == 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  ::sendmsg(channel, &message, 0);
}

TapOpening receive_descriptor(int channel) {
  TapOpening opening;
  iovec data{&opening.error, sizeof opening.error};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  if (::recvmsg(channel, &message, MSG_CMSG_CLOEXEC) != sizeof opening.error) return {Fd(), EPIPE};
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_type == SCM_RIGHTS) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    opening.fd = Fd(fd);
  }
  return opening;
}

// For good.
bool become_user(uid_t uid) {
  return ::setgroups(0, nullptr) == 0 && ::setresgid(uid, uid, uid) == 0 && ::setresuid(uid, uid, uid) == 0;
}

// /dev/net/tun is opened as root, as a device plugin hands it out; the tap itself as the VM's user.
int open_as_user(const std::string& netns, const std::string& tap, uid_t uid, bool multi_queue, int& fd) {
  const Fd target(::open(netns.c_str(), O_RDONLY | O_CLOEXEC));
  if (!target || ::setns(target.get(), CLONE_NEWNET) != 0) return errno;
  fd = ::open("/dev/net/tun", O_RDWR | O_CLOEXEC);
  if (fd < 0) return errno;
  if (!become_user(uid)) return errno;
  ifreq request{};
  std::copy_n(tap.begin(), std::min(tap.size(), sizeof request.ifr_name - 1), request.ifr_name);
  request.ifr_flags =
      static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (multi_queue ? IFF_MULTI_QUEUE : 0));
  return ::ioctl(fd, TUNSETIFF, &request) == 0 ? 0 : errno;
}

int open_node_as_user(const std::string& node, uid_t uid, int& fd) {
  if (!become_user(uid)) return errno;
  fd = ::open(node.c_str(), O_RDWR | O_CLOEXEC);
  return fd < 0 ? errno : 0;
}

// What a process of its own opens: `open` sets its argument to the descriptor and returns 0 or errno.
TapOpening opened_by_child(const std::function<int(int&)>& open) {
  std::array<int, 2> channel{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel.data()) != 0) return {Fd(), errno};
  const Fd ours(channel[0]);
  Fd theirs(channel[1]);
  const pid_t pid = ::fork();
  if (pid < 0) return {Fd(), errno};
  if (pid == 0) {
    int fd = -1;
    const int error = open(fd);
    send_descriptor(theirs.get(), fd, error);
    ::_exit(0);
  }
  theirs = Fd();
  TapOpening opening = receive_descriptor(ours.get());
  ::waitpid(pid, nullptr, 0);
  return opening;
}

}  // namespace

TapOpening open_tap(const std::string& netns, const std::string& tap, uid_t uid, bool multi_queue) {
  return opened_by_child([&](int& fd) { return open_as_user(netns, tap, uid, multi_queue, fd); });
}

FakeGuest::FakeGuest(const std::string& netns, const std::string& tap, const MacAddress& mac)
    : FakeGuest(open_tap(netns, tap, kVmUid, false), netns, tap, mac) {}

FakeGuest FakeGuest::on_macvtap(const std::string& netns, const std::string& link, const MacAddress& mac) {
  const std::string node = "/dev/tap" + std::to_string(link_of(netns, link).value("ifindex", 0));
  return {opened_by_child([&](int& fd) { return open_node_as_user(node, kVmUid, fd); }), netns, link, mac};
}

FakeGuest::FakeGuest(TapOpening opening, const std::string& netns, const std::string& link,
                     const MacAddress& mac)
    : fd_(std::move(opening.fd)), mac_(mac) {
  if (opening.error != 0)
    throw std::runtime_error("cannot open " + link + " as the VM's user: " + std::strerror(opening.error));
  if (!await_active(netns, link)) throw std::runtime_error(link + " does not come up");
}

FakeGuest::~FakeGuest() = default;

void FakeGuest::send(const Frame& frame) const {
  std::vector<std::uint8_t> packet(kVnetHeader);
  packet.insert(packet.end(), frame.begin(), frame.end());
  if (::write(fd_.get(), packet.data(), packet.size()) != static_cast<ssize_t>(packet.size())) {
    throw std::runtime_error(std::string("the guest cannot send: ") + std::strerror(errno));
  }
}

std::optional<Frame> FakeGuest::receive(const std::function<bool(const Frame&)>& wanted,
                                        std::chrono::milliseconds timeout) const {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  std::array<std::uint8_t, 65536 + kVnetHeader> buffer{};
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now())
            .count();
    pollfd polled{fd_.get(), POLLIN, 0};
    if (left < 0 || ::poll(&polled, 1, static_cast<int>(left)) <= 0) return std::nullopt;
    const ssize_t got = ::read(fd_.get(), buffer.data(), buffer.size());
    if (got < static_cast<ssize_t>(kVnetHeader + kEthernetHeader)) continue;
    Frame frame(buffer.begin() + kVnetHeader, buffer.begin() + got);
    if (wanted(frame)) return frame;
  }
}

void FakeGuest::serve(const IpAddress& address) {
  server_ = std::jthread([this, address](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      const auto frame = receive([](const Frame&) { return true; }, std::chrono::milliseconds(50));
      if (!frame) continue;
      if (const auto reply = answer(*frame, mac_, address)) send(*reply);
    }
  });
}

}  // namespace vmlane::test
