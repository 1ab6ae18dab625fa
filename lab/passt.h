// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/address.h"
#include "core/error.h"
#include "lab/process.h"

namespace vmlane::lab {

struct PasstPlace {
  std::filesystem::path network_namespace;  // whose sockets passt uses for the guest
  std::string interface;                    // of the namespace; the guest gets its address
  IpPrefix address;
  IpAddress gateway;
  std::filesystem::path socket;  // made by passt, for QEMU; in a directory that uid can write
  std::filesystem::path output;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<std::uint16_t> udp_ports;  // of the namespace, passed on to the guest
  std::vector<std::uint16_t> tcp_ports;
};

// Code::kNotAvailable with the fix when the machine has no passt.
Result<> have_passt();

// Starts passt and returns when its socket is there. `record` as for start_daemon.
Result<ProcessRef> start_passt(const PasstPlace& place,
                               const std::function<Result<>(const ProcessRef&)>& record);

}  // namespace vmlane::lab
