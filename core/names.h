// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "core/error.h"

// Every name that two programs, or two releases, must agree on is made here and nowhere else.
namespace vmlane::names {

// Annotations, labels and extended resources: vmlane.io/<name>.
inline constexpr std::string_view kPrefix = "vmlane.io/";
inline constexpr std::string_view kDefaultNodeConfig = "/etc/cni/net.d/vmlane.d/node.json";

// Limits of the kernel, checked before use: a link name is 15 bytes (IFNAMSIZ less the NUL), a unix socket
// path 107.
inline constexpr std::size_t kMaxLinkName = 15;
inline constexpr std::size_t kMaxSocketPath = 107;

// First 32 hex digits of sha256(network NUL container_id NUL ifname): the attachment id. All names made from
// outside strings carry the id instead of the strings, whose characters and lengths others decide.
std::string attachment_id(std::string_view network, std::string_view container_id, std::string_view ifname);

// The attachment's host-side link: "vml" + 12 digits of the id. A clash with a foreign link is met by salt 1,
// 2, ..., which hashes the id again; the record keeps the name that was taken.
std::string host_link(std::string_view attachment_id, unsigned salt = 0);

// The ifb that holds an attachment's frames back to the rate they may come at: "vms" + 12 digits of the id.
std::string shaper_link(std::string_view attachment_id);

// The VLAN device on a link: "<link>.<vlan>", as everybody calls it; "vmv" + 12 digits of a hash of that
// where it is longer than a link's name may be.
std::string vlan_link(std::string_view lower, unsigned vlan);

// A slot for a macvtap: its lower device and the number that the link will have. The number is the kernel's
// name for the character device as well, /dev/tap<number>, so no two macvtaps of a node may share one. They
// are far from those that the kernel gives by itself.
struct MacvtapSlot {
  static constexpr int kFirstIndex = 1 << 20;
  static constexpr int kEndIndex = 1 << 28;  // excluded
  std::string lower;
  int index = 0;
};
// As a device plugin advertises it and a runtime hands it on: "<lower>-<index>".
std::string macvtap_device_id(const MacvtapSlot& slot);
// Code::kInvalidConfig naming the id.
Result<MacvtapSlot> parse_macvtap_device_id(std::string_view id);

// The tap by which the switch is a port of the bridge of an L2 segment: "vmu" + 12 digits of a hash, the
// node's own.
std::string uplink_tap(std::string_view state_dir, std::string_view segment);
// Its alias, and the segment of such an alias; no value for another one. It belongs to no single attachment.
std::string uplink_alias(std::string_view segment);
Result<std::string> parse_uplink_alias(std::string_view alias);

// Alias of every link we make, by which DEL and sweep recognise it without a record: "vmlane:<id>:<boot-id>".
std::string link_alias(std::string_view attachment_id, std::string_view boot_id);

struct LinkOwner {
  std::string attachment_id;
  std::string boot_id;
};
// The reverse of link_alias; no value for an alias that is not ours.
Result<LinkOwner> parse_link_alias(std::string_view alias);

// The tap that goes with a pod interface, as KubeVirt derives it (`domainAttachmentType: tap`): eth0 -> tap0,
// pod<11 hex> and net<N>, N > 0, -> tap + the rest; any other name -> tap + 11 hex digits of its sha256.
std::string tap_link(std::string_view pod_ifname);

// KubeVirt's pod interface name for a network of a VM: "pod" + 11 hex digits of sha256(network name).
std::string kubevirt_pod_ifname(std::string_view network_name);

// Validators. Errors say which value is wrong and what is allowed; `what` names the key.
// Link name: 1 to 15 bytes of printable ASCII, not "." or "..", no '-' at its start (an option, to other
// tools), without '/', ':', '%' or white space.
Result<> check_link_name(std::string_view name, std::string_view what, Code code);
// CNI network names and container ids: ^[a-zA-Z0-9][a-zA-Z0-9_.-]*$, and at most 255 bytes so that files can
// carry them.
Result<> check_identifier(std::string_view id, std::string_view what, Code code);
// A plugin's type: an identifier, so that it can only name a file directly inside a CNI_PATH directory.
Result<> check_plugin_type(std::string_view type, std::string_view what, Code code);

}  // namespace vmlane::names
