// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>

#include "netlink/kernel_netlink.h"

namespace vmlane::netlink {
namespace {

constexpr const char* kTunDevice = "/dev/net/tun";

Result<> make_tap(const TapSpec& spec) {
  const Fd tun(::open(kTunDevice, O_RDWR | O_CLOEXEC));
  if (!tun) {
    Error error = io_error(std::string("cannot open ") + kTunDevice, errno);
    if (errno == ENOENT || errno == ENODEV || errno == ENXIO) error.code = Code::kNotFound;
    error.details = "taps need the kernel's tun module";
    return fail(std::move(error));
  }
  const auto failure = [&](const char* what) {
    return fail(kernel_error("cannot " + std::string(what) + " tap " + spec.name, errno));
  };
  ifreq request{};
  if (spec.name.size() >= sizeof(request.ifr_name))
    return fail(Code::kKernel, "tap name " + spec.name + " is longer than 15 bytes");
  std::ranges::copy(spec.name, request.ifr_name);
  // IFF_TUN_EXCL: without it TUNSETIFF attaches to a tap of that name that somebody else made.
  const int flags =
      IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL | (spec.multi_queue ? IFF_MULTI_QUEUE : 0);
  request.ifr_flags = static_cast<std::int16_t>(flags);
  if (::ioctl(tun.get(), TUNSETIFF, &request) != 0) {
    if (errno == EBUSY)
      return fail(Code::kConflict, "link " + spec.name + " exists already", "remove or rename it");
    return failure("create");
  }
  // The tap goes with this descriptor until it is persistent, which therefore comes last: neither an error
  // nor a kill leaves half a tap.
  if (::ioctl(tun.get(), TUNSETOWNER, spec.owner) != 0) return failure("set the owner of");
  if (::ioctl(tun.get(), TUNSETGROUP, spec.group) != 0) return failure("set the group of");
  if (::ioctl(tun.get(), TUNSETPERSIST, 1) != 0) return failure("keep");
  return {};
}

}  // namespace

Result<> create_tap(const Namespace& network_namespace, const TapSpec& spec) {
  return network_namespace.run<void>([&] { return make_tap(spec); });
}

Result<TapInfo> tap_info(const Namespace& network_namespace, const std::string& name) {
  VMLANE_ASSIGN(Socket socket, Socket::open(network_namespace));
  VMLANE_ASSIGN(const auto message, get_link(socket, name));
  if (!message) return fail(Code::kNotFound, "there is no link " + name + " in " + network_namespace.path());
  const auto info = message->attributes<ifinfomsg>(IFLA_MAX).nested(IFLA_LINKINFO, IFLA_INFO_MAX);
  const auto tun = info.nested(IFLA_INFO_DATA, IFLA_TUN_MAX);
  if (info.string(IFLA_INFO_KIND) != "tun" || tun.u8(IFLA_TUN_TYPE) != IFF_TAP) {
    return fail(Code::kNotFound, "link " + name + " in " + network_namespace.path() + " is no tap");
  }
  const auto flag = [&](int type) { return tun.u8(type).value_or(0) != 0; };
  return TapInfo{.owner = tun.u32(IFLA_TUN_OWNER),
                 .group = tun.u32(IFLA_TUN_GROUP),
                 .multi_queue = flag(IFLA_TUN_MULTI_QUEUE),
                 .vnet_hdr = flag(IFLA_TUN_VNET_HDR),
                 .persistent = flag(IFLA_TUN_PERSIST)};
}

}  // namespace vmlane::netlink
