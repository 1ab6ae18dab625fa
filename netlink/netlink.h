// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/address.h"
#include "core/error.h"
#include "netlink/namespace.h"
#include "netlink/vlan.h"

// Links, addresses and routes of one network namespace, over libnl's rtnetlink sockets. This is the only room
// that includes libnl.
//
// A Netlink object is bound to the namespace it was opened in: its socket was made there. Requests are
// synchronous and typed; there is no cache that could be stale. Errors are Code::kKernel, or Code::kNotFound
// for a link that is gone, and say what was asked of which link, with the kernel's own words as details; "not
// found" is a value, not an error, in find_*, and a link that is gone has no addresses or routes. One object
// serves one thread at a time. Lane code takes the abstract class, so that a test can record what a plan asks
// of the kernel or refuse it.
namespace vmlane::netlink {

struct Link {
  int index = 0;
  std::string name;
  std::string kind;  // "veth", "bridge", "tun", "macvtap", "dummy", "vxlan" ...; empty for a plain device
  std::string alias;
  MacAddress mac;
  std::uint32_t mtu = 0;
  bool up = false;       // IFF_UP: administratively
  bool carrier = false;  // IFF_LOWER_UP
  bool running = false;  // IFF_RUNNING: the kernel has noticed the carrier; until then what is sent is lost
  bool arp = true;       // not IFF_NOARP
  bool promiscuous = false;
  bool all_multicast = false;
  bool loopback = false;
  std::uint32_t group = 0;  // links of one group can be deleted together; 0 is everybody's
  int master = 0;           // index of the bridge it is a port of, 0 for none
  int peer = 0;  // IFLA_LINK: veth peer or lower device, in peer_namespace_id's namespace; 0 for none
  std::optional<int> peer_namespace_id;  // set when the peer is in another namespace
};

struct VethSpec {
  std::string name;  // in this object's namespace
  MacAddress mac;
  std::string peer_name;  // in `peer_namespace`
  MacAddress peer_mac;
  std::uint32_t mtu = 1500;  // of both ends
};

struct BridgeSpec {
  std::string name;
  MacAddress mac;  // fixed from the start: a bridge without one takes its lowest port's and changes it as
                   // ports come and go
  std::uint32_t mtu = 1500;
  bool vlan_filtering = false;
};

enum class MacvtapMode { kPrivate, kVepa, kBridge, kPassthru };

// A NIC on a lower device whose other end is a character device, for QEMU to open.
struct MacvtapSpec {
  std::string name;
  int index = 0;   // the kernel calls the character device tap<index>, and has one name space for all of them
  int lower = 0;   // index of the lower device, in its namespace
  MacAddress mac;  // in mode passthru the link takes the lower device's instead
  std::uint32_t mtu = 1500;
  MacvtapMode mode = MacvtapMode::kBridge;
  std::string alias;  // part of its creation: a device without it is somebody else's
};

// What to change on a link; unset members stay as they are.
struct LinkChange {
  std::optional<bool> up;
  std::optional<std::uint32_t> mtu;
  std::optional<MacAddress> mac;
  std::optional<int> master;  // 0 takes it out of its bridge
  std::optional<std::string> alias;
  std::optional<std::string> name;
  std::optional<bool> arp;
  std::optional<bool> promiscuous;
  std::optional<bool> all_multicast;  // takes frames to every multicast address, joined or not
  std::optional<std::uint32_t> group;
  bool no_ipv6_address_generation = false;  // IN6_ADDR_GEN_MODE_NONE
};

struct BridgePortChange {
  std::optional<bool> hairpin;
  std::optional<bool> isolated;
  std::optional<bool> learning;
  std::optional<bool> flood;  // unknown unicast
};

struct PortVlansChange {
  std::vector<PortVlans> remove;
  std::vector<PortVlans> add;
  bool of_the_bridge = false;  // the link is the bridge device itself, not a port
};

struct BridgePort {
  bool hairpin = false;
  bool isolated = false;
  bool learning = true;
  bool flood = true;
  bool forwarding = false;  // takes and gives frames; shortly after both ends of a veth are up
  // Not even on the way there: the kernel has not noticed the carrier, or somebody switched the port off.
  bool disabled = false;
};

struct AddressEntry {
  IpPrefix prefix;
  bool tentative = false;  // IPv6 duplicate detection has not ended
  bool dad_failed = false;
  bool permanent = true;
  std::uint8_t scope = 0;  // RT_SCOPE_*
};

struct AddressSpec {
  IpPrefix prefix;
  bool no_dad = false;  // IPv6: usable at once, for addresses whose owner is known
};

// A route as it is asked for and as it is read back: members with the value that the kernel gives by itself
// (priority 0 for IPv4, 1024 for IPv6) are unset then. Each next hop of a multipath route is one Route.
struct Route {
  IpPrefix destination;  // 0.0.0.0/0 or ::/0 for the default route
  std::optional<IpAddress> gateway;
  int interface = 0;
  std::optional<std::uint32_t> priority;
  std::optional<std::uint32_t> table;  // unset: main
  std::optional<std::uint8_t> scope;   // unset: link without a gateway, else global; IPv6 has none
  std::optional<std::uint32_t> mtu;
  std::optional<std::uint32_t> advmss;
  bool operator==(const Route&) const = default;
};

struct IfbSpec {
  std::string name;
  MacAddress mac;
  std::uint32_t mtu = 1500;
};

struct RateLimit {
  std::uint64_t bits_per_second = 0;
  std::uint64_t burst_bits = 0;
};

class Netlink {
 public:
  virtual ~Netlink() = default;

  virtual Result<std::vector<Link>> links() = 0;
  // An alternative name counts, as it does when the kernel refuses a new link of that name; Link::name is the
  // link's own.
  virtual Result<std::optional<Link>> find_link(const std::string& name) = 0;
  virtual Result<std::optional<Link>> find_link(int index) = 0;

  // Makes both ends in one request, the peer straight in its namespace under its final name: no half-moved
  // link and no passing name on the host. Both are down. A name that is taken, in either namespace, is
  // Code::kConflict.
  virtual Result<> create_veth(const VethSpec& spec, const Namespace& peer_namespace) = 0;
  // Code::kConflict when the name is taken. A kernel without VLAN filtering refuses a bridge that is to have
  // it.
  virtual Result<> create_bridge(const BridgeSpec& spec) = 0;
  // Gone already is success.
  virtual Result<> delete_link(int index) = 0;
  // All links of a group, in one go: the kernel waits once for all readers of its tables instead of once for
  // each link. None is success.
  virtual Result<> delete_group(std::uint32_t group) = 0;
  // A MAC that another device on the same lower device has is Code::kConflict when the link comes up.
  virtual Result<> change_link(int index, const LinkChange& change) = 0;

  virtual Result<> change_bridge_port(int index, const BridgePortChange& change) = 0;
  virtual Result<BridgePort> bridge_port(int index) = 0;

  // Code::kNotFound when the link is no bridge.
  virtual Result<bool> bridge_filters_vlans(int index) = 0;
  virtual Result<> filter_vlans(int index, bool on) = 0;
  // Of a port or of the bridge device itself, normalized; none on a kernel without VLAN filtering.
  virtual Result<std::vector<PortVlans>> port_vlans(int index) = 0;
  // All in one system call: first what is removed (not there is success), then what is added or changed.
  virtual Result<> change_port_vlans(int index, const PortVlansChange& change) = 0;
  // Code::kConflict when the name is taken or the lower link has a device of that VLAN.
  virtual Result<> create_vlan(const VlanSpec& spec) = 0;
  // The VLAN of a VLAN device, whose lower link is Link::peer; none for any other link.
  virtual Result<std::optional<std::uint16_t>> vlan_id(int index) = 0;

  // In this object's namespace on a lower device of another, in one system call, down. Code::kConflict when
  // name or index are taken, or when the lower device's other uses do not allow it.
  virtual Result<> create_macvtap(const MacvtapSpec& spec, const Namespace& lower_namespace) = 0;
  // None for a link that is no macvtap or is gone.
  virtual Result<std::optional<MacvtapMode>> macvtap_mode(int index) = 0;

  virtual Result<std::vector<AddressEntry>> addresses(int index) = 0;
  // Exists already is success; with another prefix length it is Code::kConflict for IPv6, where the kernel
  // has an address once, and another address for IPv4.
  virtual Result<> add_address(int index, const AddressSpec& address) = 0;
  // Gone already is success.
  virtual Result<> remove_address(int index, const IpPrefix& address) = 0;

  // Unicast routes of all tables but `local`; filter by `interface` unless 0.
  virtual Result<std::vector<Route>> routes(int interface) = 0;
  // Exists already (same destination, gateway, interface, priority, table) is success; another route to the
  // same destination with the same priority in that table is Code::kConflict.
  virtual Result<> add_route(const Route& route) = 0;
  // The route of that destination, gateway, interface, priority and table; gone already is success.
  virtual Result<> remove_route(const Route& route) = 0;

  // Puts a token bucket (tbf) in the place of the link's queue. It counts frames with their Ethernet headers,
  // a segmented one with those of all its segments. Bursts below 10 ms at the rate, or below 64 KiB, are
  // raised to that; frames above the burst are segmented.
  virtual Result<> limit_egress(int index, const RateLimit& limit) = 0;
  // Makes an ifb, down: what is sent to it waits in its queue and is then received where it came from.
  // Code::kConflict when the name is taken.
  virtual Result<> create_ifb(const IfbSpec& spec) = 0;
  // Has all that the link receives go through an ifb of the same namespace first, after what is attached to
  // the link's ingress by TCX or with a filter priority below 49152. Once for a link.
  virtual Result<> redirect_received(int index, int ifb) = 0;
};

// A Netlink of a namespace.
Result<std::unique_ptr<Netlink>> open_netlink(const Namespace& network_namespace);

// A persistent tap, made through /dev/net/tun in the given namespace, down. It has a random MAC of its own:
// the guest's is set inside the guest.
struct TapSpec {
  std::string name;
  std::uint32_t owner = 107;  // uid and gid that may open it without CAP_NET_ADMIN
  std::uint32_t group = 107;
  bool multi_queue = false;  // a flag, not a count: it decides how the tap must be opened
};
// Code::kConflict when the name is taken, Code::kNotFound when the node has no tun device.
Result<> create_tap(const Namespace& network_namespace, const TapSpec& spec);

// Properties of a tap that netlink and the tun driver tell, for CHECK.
struct TapInfo {
  std::optional<std::uint32_t> owner;
  std::optional<std::uint32_t> group;
  bool multi_queue = false;
  bool vnet_hdr = false;
  bool persistent = false;
};
// Code::kNotFound when the link is no tap or is gone.
Result<TapInfo> tap_info(const Namespace& network_namespace, const std::string& name);

struct DeviceNumber {
  unsigned major = 0;
  unsigned minor = 0;
  bool operator==(const DeviceNumber&) const = default;
};
// The character device of a macvtap, from the sysfs of its namespace: two macvtaps of one index in two
// namespaces have two devices but one name. Code::kNotFound when there is no macvtap of that index.
Result<DeviceNumber> macvtap_device(const Namespace& network_namespace, int index);

// Writes, unless it is there already, net.ipv6.conf.<link>.<key> (or ipv4) in a namespace: sysctls have no
// netlink form. `family` is "ipv4" or "ipv6". A kernel without IPv6 has no such file, nor has a link whose
// MTU is too small for it; that is success for ipv6, since there is nothing to switch off. Code::kNotFound
// when the link or the key does not exist.
Result<> write_link_sysctl(const Namespace& network_namespace, const std::string& family,
                           const std::string& link, const std::string& key, const std::string& value);
// The value without its newline; none when the link or the key does not exist.
Result<std::optional<std::string>> read_link_sysctl(const Namespace& network_namespace,
                                                    const std::string& family, const std::string& link,
                                                    const std::string& key);

}  // namespace vmlane::netlink
