// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/address.h"
#include "core/error.h"
#include "core/record.h"
#include "ebpf/guest_answers.h"
#include "ebpf/source_guard_layout.bpf.h"

namespace vmlane::dataplane {

// A limit of one direction; a rate of 0 is none.
struct Bandwidth {
  std::uint64_t rate = 0;   // bits a second
  std::uint64_t burst = 0;  // bits
};

// What the switch takes from the record of an attachment.
struct PortSpec {
  std::string id;       // of the attachment
  std::string network;  // the L2 segment
  std::filesystem::path socket;
  MacAddress mac;
  std::vector<IpAddress> addresses;  // that IPAM gave
  std::uint32_t mtu = 0;
  bool isolated = false;
  bool access_vlan = false;  // the port is in one VLAN: its guest sends and gets no tags
  std::string uplink;        // tap of the network's kernel uplink; empty: none
  std::optional<vmlane_guard> guard;
  std::shared_ptr<vmlane_answers> answers;  // null: nothing is answered
  std::optional<bool> policy_denies;        // until it is judged; none: no policy is held
  Bandwidth ingress;                        // of what the guest gets
  Bandwidth egress;                         // and sends
  std::optional<MacAddress> node_mac;       // of the bridge, with allowNode
  std::string workload;                     // for people
  Json handles;                             // all of it, to tell a change

  bool same_as(const PortSpec& other) const {
    return handles == other.handles && mac == other.mac && mtu == other.mtu;
  }
};

// No value for a record that is not the switch's business: of another lane, of an earlier boot, not done yet,
// or being removed. Code::kDecode names what the record lacks.
Result<std::optional<PortSpec>> port_spec(const AttachmentRecord& record, const std::string& boot_id);

}  // namespace vmlane::dataplane
