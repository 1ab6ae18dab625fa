// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "netlink/netlink.h"
#include "netlink/socket.h"

namespace vmlane::netlink {

// The Netlink that speaks to the kernel. Each file of this room has the members of one kind of object.
class KernelNetlink final : public Netlink {
 public:
  explicit KernelNetlink(Socket socket) : socket_(std::move(socket)) {}

  Result<std::vector<Link>> links() override;
  Result<std::optional<Link>> find_link(const std::string& name) override;
  Result<std::optional<Link>> find_link(int index) override;

  Result<> create_veth(const VethSpec& spec, const Namespace& peer_namespace) override;
  Result<> create_bridge(const BridgeSpec& spec) override;
  Result<> delete_link(int index) override;
  Result<> delete_group(std::uint32_t group) override;
  Result<> change_link(int index, const LinkChange& change) override;

  Result<> change_bridge_port(int index, const BridgePortChange& change) override;
  Result<BridgePort> bridge_port(int index) override;

  Result<bool> bridge_filters_vlans(int index) override;
  Result<> filter_vlans(int index, bool on) override;
  Result<std::vector<PortVlans>> port_vlans(int index) override;
  Result<> change_port_vlans(int index, const PortVlansChange& change) override;
  Result<> create_vlan(const VlanSpec& spec) override;
  Result<std::optional<std::uint16_t>> vlan_id(int index) override;

  Result<> create_macvtap(const MacvtapSpec& spec, const Namespace& lower_namespace) override;
  Result<std::optional<MacvtapMode>> macvtap_mode(int index) override;

  Result<std::vector<AddressEntry>> addresses(int index) override;
  Result<> add_address(int index, const AddressSpec& address) override;
  Result<> remove_address(int index, const IpPrefix& address) override;

  Result<std::vector<Route>> routes(int interface) override;
  Result<> add_route(const Route& route) override;
  Result<> remove_route(const Route& route) override;

  Result<> limit_egress(int index, const RateLimit& limit) override;
  Result<> create_ifb(const IfbSpec& spec) override;
  Result<> redirect_received(int index, int ifb) override;

 private:
  Result<> pin_bridge_mtu(const BridgeSpec& spec);
  Result<> disable_ipv6_address_generation(int index);

  Socket socket_;
};

// The kernel's description of one link, by index or by name (an alternative name counts); no value when there
// is none.
Result<std::optional<ReceivedMessage>> get_link(Socket& socket, int index);
Result<std::optional<ReceivedMessage>> get_link(Socket& socket, const std::string& name);

// What errors call a link.
std::string link_subject(int index);

}  // namespace vmlane::netlink
