// SPDX-License-Identifier: Apache-2.0
#include "perf/guest_nic.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <mutex>
#include <utility>

#include "core/files.h"

namespace vmlane::perf {
namespace {

Result<Fd> open_tap(const std::string& name) {
  if (name.starts_with('/')) {
    Fd device(::open(name.c_str(), O_RDWR | O_CLOEXEC));
    if (device) return device;
    return fail(kernel_error("cannot open macvtap " + name, errno));
  }
  Fd tap(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  if (!tap) return fail(kernel_error("cannot open /dev/net/tun", errno));
  ifreq request{};
  name.copy(request.ifr_name, sizeof(request.ifr_name) - 1);
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if (::ioctl(tap.get(), TUNSETIFF, &request) != 0)
    return fail(kernel_error("cannot open tap " + name, errno));
  return tap;
}

class TapNic final : public GuestNic {
 public:
  TapNic(Fd tap, std::string name) : tap_(std::move(tap)), name_(std::move(name)) {}

  Result<> set_offloads(bool offloads) const {
    const int header = sizeof(lab::VirtioNetHeader);
    const unsigned flags = offloads ? TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 : 0;
    if (::ioctl(tap_.get(), TUNSETVNETHDRSZ, &header) == 0 && ::ioctl(tap_.get(), TUNSETOFFLOAD, flags) == 0)
      return {};
    return fail(kernel_error("cannot set the offloads of " + name_, errno));
  }

  Result<std::optional<GuestFrame>> receive() override {
    const ssize_t got = ::read(tap_.get(), buffer_.data(), buffer_.size());
    if (got < 0 && errno != EINTR) return fail(io_error("cannot read from " + name_, errno));
    GuestFrame frame;
    if (got <= static_cast<ssize_t>(sizeof frame.header)) return std::nullopt;
    std::memcpy(&frame.header, buffer_.data(), sizeof frame.header);
    frame.bytes =
        std::span(buffer_).subspan(sizeof frame.header, static_cast<std::size_t>(got) - sizeof frame.header);
    return frame;
  }

  Result<> send(const GuestFrame& frame) override {
    lab::VirtioNetHeader header = frame.header;
    const std::array<iovec, 2> parts = {{{&header, sizeof header}, {frame.bytes.data(), frame.bytes.size()}}};
    // EINVAL: a header that is no use on this link; the frame is its sender's loss.
    if (::writev(tap_.get(), parts.data(), parts.size()) >= 0 || errno == EIO || errno == EINTR ||
        errno == EINVAL)
      return {};
    return fail(io_error("cannot write to " + name_, errno));
  }

  bool sends_offloads() const override { return true; }

 private:
  Fd tap_;
  std::string name_;
  std::array<std::uint8_t, (1 << 16) + 128> buffer_{};
};

class VhostNic final : public GuestNic {
 public:
  explicit VhostNic(std::unique_ptr<lab::VhostFrontend> rings) : rings_(std::move(rings)) {}

  Result<> wait_for_switch() {
    constexpr std::chrono::seconds kPatience{5};
    const std::scoped_lock lock(sending_);
    return rings_->accept(kPatience);
  }

  Result<std::optional<GuestFrame>> receive() override {
    constexpr std::chrono::milliseconds kLookAgain{500};  // whether the switch is still there
    received_ = rings_->receive_within(kLookAgain);
    if (!received_ && !rings_->connected()) [[maybe_unused]]
      const auto again = wait_for_switch();
    if (!received_) return std::nullopt;
    return GuestFrame{received_->header, received_->bytes};
  }

  Result<> send(const GuestFrame& frame) override {
    const std::scoped_lock lock(sending_);
    rings_->send(frame.bytes, frame.header);
    return {};
  }

  bool sends_offloads() const override {
    using lab::VirtioFeatures;
    constexpr std::uint64_t kAll =
        VirtioFeatures::kChecksum | VirtioFeatures::kHostTso4 | VirtioFeatures::kHostTso6;
    return (rings_->features() & kAll) == kAll;
  }

 private:
  std::unique_ptr<lab::VhostFrontend> rings_;
  std::optional<lab::ReceivedFrame> received_;
  std::mutex sending_;
};

}  // namespace

Result<std::unique_ptr<GuestNic>> open_tap_nic(const std::string& name, bool offloads) {
  VMLANE_ASSIGN(Fd tap, open_tap(name));
  auto nic = std::make_unique<TapNic>(std::move(tap), name);
  VMLANE_TRY(nic->set_offloads(offloads));
  return nic;
}

Result<std::unique_ptr<GuestNic>> open_vhost_nic(const std::filesystem::path& socket) {
  VMLANE_ASSIGN(auto rings, lab::VhostFrontend::listen({.socket = socket}));
  auto nic = std::make_unique<VhostNic>(std::move(rings));
  VMLANE_TRY(nic->wait_for_switch());
  return nic;
}

}  // namespace vmlane::perf
