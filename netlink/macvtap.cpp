// SPDX-License-Identifier: Apache-2.0
// macvtap devices: the link, and the character device that belongs to it.
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <sys/mount.h>

#include <array>
#include <cerrno>
#include <charconv>

#include "netlink/kernel_netlink.h"

namespace vmlane::netlink {
namespace {

constexpr std::size_t kMaxDeviceText = 64;  // "<major>:<minor>\n"

std::uint32_t mode_number(MacvtapMode mode) {
  switch (mode) {
    case MacvtapMode::kPrivate:
      return MACVLAN_MODE_PRIVATE;
    case MacvtapMode::kVepa:
      return MACVLAN_MODE_VEPA;
    case MacvtapMode::kBridge:
      return MACVLAN_MODE_BRIDGE;
    case MacvtapMode::kPassthru:
      break;
  }
  return MACVLAN_MODE_PASSTHRU;
}

Message create_message(const MacvtapSpec& spec, int lower_namespace_id) {
  ifinfomsg header{};
  header.ifi_index = spec.index;
  Message message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, header);
  message.put_string(IFLA_IFNAME, spec.name);
  message.put(IFLA_ADDRESS, spec.mac);
  message.put_u32(IFLA_MTU, spec.mtu);
  message.put_u32(IFLA_LINK, static_cast<std::uint32_t>(spec.lower));
  message.put_u32(IFLA_LINK_NETNSID, static_cast<std::uint32_t>(lower_namespace_id));
  message.nest(IFLA_LINKINFO, [&] {
    message.put_string(IFLA_INFO_KIND, "macvtap");
    message.nest(IFLA_INFO_DATA, [&] { message.put_u32(IFLA_MACVLAN_MODE, mode_number(spec.mode)); });
  });
  return message;
}

Message alias_message(const MacvtapSpec& spec) {
  ifinfomsg header{};
  header.ifi_index = spec.index;
  Message message(RTM_SETLINK, 0, header);
  message.put_text(IFLA_IFALIAS, spec.alias);
  return message;
}

Message namespace_id_message(std::uint16_t type, const Namespace& other) {
  rtgenmsg header{};
  Message message(type, 0, header);
  message.put_u32(NETNSA_FD, static_cast<std::uint32_t>(other.fd()));
  return message;
}

Result<std::optional<int>> known_namespace_id(Socket& socket, const Namespace& other) {
  Message message = namespace_id_message(RTM_GETNSID, other);
  VMLANE_ASSIGN(const Reply reply, socket.request(message));
  if (!reply.ok()) return fail(reply.to_error("ask for the id of network namespace " + other.path()));
  if (reply.messages.empty()) return std::nullopt;
  const auto id = reply.messages.front().attributes<rtgenmsg>(NETNSA_MAX).s32(NETNSA_NSID);
  if (!id || *id == NETNSA_NSID_NOT_ASSIGNED) return std::nullopt;
  return id;
}

// How the socket's namespace calls the other one. The kernel gives a namespace such a number by itself as
// soon as a link refers to it, so one that is given here changes nothing.
Result<int> namespace_id(Socket& socket, const Namespace& other) {
  VMLANE_ASSIGN(const auto known, known_namespace_id(socket, other));
  if (known) return *known;
  Message message = namespace_id_message(RTM_NEWNSID, other);
  message.put_u32(NETNSA_NSID, static_cast<std::uint32_t>(NETNSA_NSID_NOT_ASSIGNED));
  VMLANE_ASSIGN(const Reply reply, socket.request(message));
  // EEXIST: somebody else was faster.
  if (!reply.ok() && reply.error != EEXIST)
    return fail(reply.to_error("give network namespace " + other.path() + " an id"));
  VMLANE_ASSIGN(const auto given, known_namespace_id(socket, other));
  if (given) return *given;
  return fail(Code::kKernel, "the kernel gave network namespace " + other.path() + " no id");
}

std::unexpected<Error> creation_failure(const MacvtapSpec& spec, const Reply& reply) {
  const std::string what = "macvtap " + spec.name;
  switch (reply.error) {
    case EEXIST:
      return fail(Code::kConflict, "link " + spec.name + " exists already", "remove or rename it");
    case EBUSY:
      return fail(Code::kConflict, "cannot create " + what + ": the lower device has another use",
                  "a port of a bridge or bond, or one with ipvlan devices, carries no macvtap");
    case EINVAL:
      return fail(
          Code::kConflict, "cannot create " + what + ": the lower device refuses it",
          reply.reason.empty() ? "mode passthru takes a lower device for itself alone" : reply.reason);
    case EOPNOTSUPP:
      return fail(Code::kKernel, "cannot create " + what + ": the kernel has no macvtap devices",
                  "load the module macvtap");
    default:
      return fail(reply.to_error("create " + what));
  }
}

// A sysfs of the calling thread's network namespace, mounted nowhere: it goes with the descriptor.
Result<Fd> sysfs_of_this_namespace() {
  const Fd context(::fsopen("sysfs", FSOPEN_CLOEXEC));
  if (!context) return fail(kernel_error("cannot open a sysfs", errno));
  if (::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    return fail(kernel_error("cannot make a sysfs", errno));
  Fd mount(::fsmount(context.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC));
  if (!mount) return fail(kernel_error("cannot mount a sysfs", errno));
  return mount;
}

Result<DeviceNumber> parse_device(const std::string& text, const std::string& where) {
  DeviceNumber device;
  const char* end = text.data() + text.size();
  const auto major = std::from_chars(text.data(), end, device.major);
  const bool colon = major.ec == std::errc() && major.ptr != end && *major.ptr == ':';
  const auto minor = colon ? std::from_chars(major.ptr + 1, end, device.minor) : major;
  if (colon && minor.ec == std::errc()) return device;
  return fail(Code::kKernel, where + " holds no device number");
}

Result<DeviceNumber> read_device(int index) {
  VMLANE_ASSIGN(const Fd sysfs, sysfs_of_this_namespace());
  const std::string path = "class/macvtap/tap" + std::to_string(index) + "/dev";
  const Fd file(::openat(sysfs.get(), path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) {
    Error error = kernel_error("cannot open /sys/" + path + " of the pod", errno);
    if (errno == ENOENT) error.code = Code::kNotFound;
    return fail(std::move(error));
  }
  VMLANE_ASSIGN(const std::string text, read_all(file.get(), path, kMaxDeviceText));
  return parse_device(text, "/sys/" + path);
}

}  // namespace

Result<> KernelNetlink::create_macvtap(const MacvtapSpec& spec, const Namespace& lower_namespace) {
  VMLANE_ASSIGN(const int lower_id, namespace_id(socket_, lower_namespace));
  // The alias follows by the link's number, which therefore must not be another's.
  VMLANE_ASSIGN(const auto taken, find_link(spec.index));
  if (taken) {
    return fail(Code::kConflict, "link " + taken->name + " has index " + std::to_string(spec.index) +
                                     ", which macvtap " + spec.name + " is to have");
  }
  std::array messages = {create_message(spec, lower_id), alias_message(spec)};
  VMLANE_ASSIGN(const Reply reply, socket_.request_together(messages));
  if (reply.ok()) return {};
  return creation_failure(spec, reply);
}

Result<std::optional<MacvtapMode>> KernelNetlink::macvtap_mode(int index) {
  VMLANE_ASSIGN(const auto message, get_link(socket_, index));
  if (!message) return std::nullopt;
  const auto info = message->attributes<ifinfomsg>(IFLA_MAX).nested(IFLA_LINKINFO, IFLA_INFO_MAX);
  if (info.string(IFLA_INFO_KIND) != "macvtap") return std::nullopt;
  const auto number = info.nested(IFLA_INFO_DATA, IFLA_MACVLAN_MAX).u32(IFLA_MACVLAN_MODE);
  for (const MacvtapMode mode :
       {MacvtapMode::kPrivate, MacvtapMode::kVepa, MacvtapMode::kBridge, MacvtapMode::kPassthru}) {
    if (number == mode_number(mode)) return mode;
  }
  return std::nullopt;
}

Result<DeviceNumber> macvtap_device(const Namespace& network_namespace, int index) {
  return network_namespace.run<DeviceNumber>([&] { return read_device(index); });
}

}  // namespace vmlane::netlink
