// SPDX-License-Identifier: Apache-2.0
#include "lab/qemu_command.h"

#include <algorithm>
#include <initializer_list>

namespace vmlane::lab {
namespace {

std::string own_descriptor(int fd) {
  return "/proc/self/fd/" + std::to_string(fd);
}

// "fd=13" or "fds=13:14".
std::string tap_descriptors(int first, unsigned queues) {
  if (queues == 1) return "fd=" + std::to_string(first);
  std::string text = "fds=";
  for (unsigned i = 0; i < queues; i++)
    text += (i == 0 ? "" : ":") + std::to_string(first + static_cast<int>(i));
  return text;
}

std::string user_network(const UserNetwork& network) {
  const std::string guest = network.guest.address.to_string();
  std::string text = ",ipv6=off,net=" + network.guest.network().to_string();
  const auto forward = [&](const char* protocol, std::uint16_t port) {
    text += std::string(",hostfwd=") + protocol + "::" + std::to_string(port) + "-" + guest + ":" +
            std::to_string(port);
  };
  for (const std::uint16_t port : network.udp_ports) forward("udp", port);
  for (const std::uint16_t port : network.tcp_ports) forward("tcp", port);
  return text;
}

// The value of -netdev. A tap's queues have the descriptors from `fd` on.
std::string netdev(const QemuNic& nic, const std::string& id, int fd) {
  if (const auto* user = std::get_if<UserNetwork>(&nic.backend)) return "user,id=" + id + user_network(*user);
  if (const auto* socket = std::get_if<FrameSocket>(&nic.backend))
    return "stream,id=" + id + ",server=off,addr.type=unix,addr.path=" + socket->path;
  if (std::holds_alternative<VhostSocket>(nic.backend))
    return "vhost-user,id=" + id + ",chardev=" + id + "socket,queues=" + std::to_string(nic.queues);
  return "tap,id=" + id + "," + tap_descriptors(fd, nic.queues) + ",vhost=off";
}

std::string nic_device(const QemuNic& nic, const std::string& id) {
  std::string text = "virtio-net-pci,netdev=" + id + ",mac=" + nic.mac.to_string() + ",romfile=";
  if (nic.mtu) text += ",host_mtu=" + std::to_string(*nic.mtu);
  // What a switch can take and give at once without a drop.
  if (std::holds_alternative<VhostSocket>(nic.backend)) text += ",rx_queue_size=1024,tx_queue_size=1024";
  // One interrupt vector for each direction of each queue, one for configuration, one for the control queue.
  if (nic.queues > 1) text += ",mq=on,vectors=" + std::to_string(2 * nic.queues + 2);
  return text;
}

// The guest's memory, for the switch to reach what is in the rings.
void share_memory(std::vector<std::string>& command, std::uint64_t mebibytes) {
  command.insert(
      command.end(),
      {"-object", "memory-backend-memfd,id=memory,share=on,size=" + std::to_string(mebibytes) + "M",
       "-machine", "memory-backend=memory"});
}

// The drive is a descriptor of QEMU's, which has no path to it.
void add_seed(std::vector<std::string>& command) {
  command.insert(
      command.end(),
      {"-add-fd", "fd=" + std::to_string(QemuDescriptors::kSeed) + ",set=2", "-blockdev",
       "driver=raw,node-name=seed,read-only=on,file.driver=file,file.locking=off,file.filename=/dev/"
       "fdset/2",
       "-device", "virtio-blk-pci,drive=seed"});
}

std::string socket_port(const std::string& id, std::string_view path) {
  return "socket,id=" + id + ",path=" + std::string(path) + ",server=on,wait=off";
}

}  // namespace

std::vector<std::string> qemu_command(const QemuSpec& spec) {
  std::vector<std::string> command = {spec.program};
  const auto add = [&command](std::initializer_list<std::string> arguments) {
    command.insert(command.end(), arguments);
  };
  add({"-name", spec.name, "-nodefaults", "-no-user-config", "-display", "none"});
  add({"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"});
  add({"-machine", "q35,usb=off,vmport=off"});
  if (spec.kvm) {
    add({"-accel", "kvm", "-cpu", "host"});
  } else {
    add({"-accel", "tcg,thread=multi", "-cpu", "max"});
  }
  add({"-m", std::to_string(spec.memory_mib) + "M", "-smp", std::to_string(spec.vcpus)});
  add({"-kernel", own_descriptor(QemuDescriptors::kKernel), "-initrd",
       own_descriptor(QemuDescriptors::kInitramfs)});
  add({"-append", spec.kernel_arguments});
  add({"-add-fd", "fd=" + std::to_string(QemuDescriptors::kConsoleLog) + ",set=1"});
  add({"-chardev", socket_port("console", kConsoleSocket) + ",logfile=/dev/fdset/1", "-serial",
       "chardev:console"});
  add({"-chardev", socket_port("command", kCommandSocket), "-serial", "chardev:command"});
  if (spec.seed) add_seed(command);
  const bool shares = std::ranges::any_of(
      spec.nics, [](const QemuNic& nic) { return std::holds_alternative<VhostSocket>(nic.backend); });
  if (shares) share_memory(command, spec.memory_mib);
  int fd = QemuDescriptors::kFirstTap;
  for (std::size_t i = 0; i < spec.nics.size(); i++) {
    const std::string id = "net" + std::to_string(i);
    if (const auto* socket = std::get_if<VhostSocket>(&spec.nics[i].backend))
      add({"-chardev", "socket,id=" + id + "socket,path=" + socket->path + ",server=on,wait=off"});
    add({"-netdev", netdev(spec.nics[i], id, fd), "-device", nic_device(spec.nics[i], id)});
    if (spec.nics[i].on_tap()) fd += static_cast<int>(spec.nics[i].queues);
  }
  return command;
}

}  // namespace vmlane::lab
