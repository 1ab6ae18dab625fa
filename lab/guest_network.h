// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/address.h"
#include "core/error.h"
#include "core/record.h"

// What the lab's guest is told about its network: arguments of its kernel command line, read by guest/setup.
namespace vmlane::lab {

struct GuestRoute {
  IpPrefix destination;
  std::optional<IpAddress> gateway;  // none: on-link
};

struct GuestNic {
  MacAddress mac;
  std::optional<std::uint32_t> mtu;
  std::vector<IpPrefix> addresses;  // none: the NIC comes up without an address
  std::vector<GuestRoute> routes;
};

// The guest's side of an attachment: MAC and MTU of the record, addresses and routes of its CNI result
// (1.1.0; a route without a gateway uses that of the first address of its family). Code::kInvalidConfig when
// a value cannot be read.
Result<GuestNic> guest_nic(const AttachmentRecord& record);

// The kernel command line. `hostname` is cut to its first label. Code::kInvalidConfig when it is longer than
// the 2047 bytes an x86 kernel takes.
Result<std::string> kernel_command_line(const std::string& hostname, const std::vector<GuestNic>& nics);

}  // namespace vmlane::lab
