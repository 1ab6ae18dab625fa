// SPDX-License-Identifier: Apache-2.0
#include "lab/guest_network.h"

namespace vmlane::lab {
namespace {

// COMMAND_LINE_SIZE of x86 is 2048 with its NUL; the kernel cuts the rest off without a word.
constexpr std::size_t kMaxCommandLine = 2047;
constexpr std::size_t kMaxHostname = 63;

// No clock calibration against emulated hardware, no mitigations for attacks a lab guest does not face, and
// quiet: each costs seconds under TCG. A panic ends QEMU, which the lab reports.
constexpr std::string_view kBootArguments =
    "console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable no_timer_check random.trust_cpu=on";

Result<std::vector<std::pair<IpPrefix, std::optional<IpAddress>>>> read_addresses(const Json& result) {
  std::vector<std::pair<IpPrefix, std::optional<IpAddress>>> addresses;
  for (const Json& ip : result.value("ips", Json::array())) {
    VMLANE_ASSIGN(const auto prefix, IpPrefix::parse(ip.value("address", "")));
    auto& entry = addresses.emplace_back(prefix, std::nullopt);
    const std::string gateway = ip.value("gateway", "");
    if (!gateway.empty()) {
      VMLANE_ASSIGN(entry.second, IpAddress::parse(gateway));
    }
  }
  return addresses;
}

Result<GuestNic> read_result(const Json& result) {
  GuestNic nic;
  VMLANE_ASSIGN(const auto addresses, read_addresses(result));
  for (const auto& [prefix, gateway] : addresses) nic.addresses.push_back(prefix);
  for (const Json& route : result.value("routes", Json::array())) {
    VMLANE_ASSIGN(const auto destination, IpPrefix::parse(route.value("dst", "")));
    auto& entry = nic.routes.emplace_back(GuestRoute{destination, std::nullopt});
    const std::string given = route.value("gw", "");
    if (!given.empty()) {
      VMLANE_ASSIGN(entry.gateway, IpAddress::parse(given));
      continue;
    }
    for (const auto& [prefix, gateway] : addresses) {
      if (prefix.address.v6 == destination.address.v6 && !entry.gateway) entry.gateway = gateway;
    }
  }
  return nic;
}

std::string nic_argument(const GuestNic& nic) {
  std::string text = " vmlane.nic=" + nic.mac.to_string();
  if (nic.mtu) text += ",mtu=" + std::to_string(*nic.mtu);
  for (const IpPrefix& address : nic.addresses) text += ",address=" + address.to_string();
  for (const GuestRoute& route : nic.routes) {
    text += ",route=" + route.destination.to_string();
    if (route.gateway) text += "@" + route.gateway->to_string();
  }
  return text;
}

}  // namespace

Result<GuestNic> guest_nic(const AttachmentRecord& record) {
  const std::string subject = "attachment " + record.key.id() + " (" + record.key.ifname + ")";
  if (!record.mac) return fail(Code::kInvalidConfig, subject + " has no MAC in its record");
  GuestNic nic;
  try {
    auto read = read_result(record.result);
    if (!read) return fail(read.error().wrap(subject + ": its result cannot be used"));
    nic = std::move(*read);
  } catch (const Json::exception& error) {
    return fail(Code::kInvalidConfig, subject + ": its result cannot be used", error.what());
  }
  VMLANE_ASSIGN(nic.mac, MacAddress::parse(*record.mac));
  nic.mtu = record.mtu;
  return nic;
}

Result<std::string> kernel_command_line(const std::string& hostname, const std::vector<GuestNic>& nics) {
  std::string text(kBootArguments);
  text += " vmlane.hostname=" + hostname.substr(0, std::min(hostname.find('.'), kMaxHostname));
  for (const GuestNic& nic : nics) text += nic_argument(nic);
  if (text.size() > kMaxCommandLine) {
    return fail(Code::kInvalidConfig,
                "the network of " + hostname + " takes " + std::to_string(text.size()) +
                    " bytes of kernel command line, the limit is " + std::to_string(kMaxCommandLine),
                "give it fewer NICs, addresses or routes");
  }
  return text;
}

}  // namespace vmlane::lab
