// SPDX-License-Identifier: Apache-2.0
#include "lab/passt.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "core/files.h"
#include "netlink/namespace.h"

namespace vmlane::lab {
namespace {

namespace fs = std::filesystem;

constexpr const char* kProgram = "/usr/bin/passt";

std::string list(const std::vector<std::uint16_t>& ports) {
  std::string text;
  for (const std::uint16_t port : ports) text += (text.empty() ? "" : ",") + std::to_string(port);
  return text.empty() ? "none" : text;
}

std::vector<std::string> command_of(const PasstPlace& place) {
  return {kProgram,      "--foreground",
          "--quiet",     "--stderr",
          "--ipv4-only", "--no-dhcp",
          "--runas",     std::to_string(place.uid) + ":" + std::to_string(place.gid),
          "--socket",    place.socket.string(),
          "--interface", place.interface,
          "--address",   place.address.address.to_string(),
          "--netmask",   std::to_string(place.address.length),
          "--gateway",   place.gateway.to_string(),
          "--udp-ports", list(place.udp_ports),
          "--tcp-ports", list(place.tcp_ports)};
}

Result<> await_socket(const PasstPlace& place, const ProcessRef& process) {
  constexpr auto kLimit = std::chrono::seconds(5);
  const auto deadline = std::chrono::steady_clock::now() + kLimit;
  while (std::chrono::steady_clock::now() < deadline) {
    std::error_code error;
    if (fs::is_socket(place.socket, error)) return {};
    if (!is_alive(process)) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  const auto words = read_file(place.output);
  return fail(Code::kIo, "passt made no socket " + place.socket.string(), words && *words ? **words : "");
}

}  // namespace

Result<> have_passt() {
  if (::access(kProgram, X_OK) == 0) return {};
  return fail(Code::kNotAvailable, std::string("there is no ") + kProgram, "install the package passt");
}

Result<ProcessRef> start_passt(const PasstPlace& place,
                               const std::function<Result<>(const ProcessRef&)>& record) {
  VMLANE_TRY(have_passt());
  const Fd output(::open(place.output.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0640));
  if (!output) return fail(io_error("cannot open " + place.output.string(), errno));
  Daemon passt{.command = command_of(place), .output = output.get()};
  // passt makes a user namespace of its own and drops to the user itself.
  passt.prepare = [&]() -> Result<> {
    VMLANE_ASSIGN(const auto pod, netlink::Namespace::open(place.network_namespace.string()));
    if (::setns(pod.fd(), CLONE_NEWNET) != 0)
      return fail(kernel_error("cannot enter " + place.network_namespace.string(), errno));
    return {};
  };
  VMLANE_ASSIGN(const ProcessRef process, start_daemon(passt, record));
  VMLANE_TRY(await_socket(place, process));
  return process;
}

}  // namespace vmlane::lab
