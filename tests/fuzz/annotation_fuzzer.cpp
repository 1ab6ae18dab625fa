// SPDX-License-Identifier: Apache-2.0
// The annotations by which a pod asks for networks, in either form.
#include <set>

#include "multus-adapter/network_selection.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmlane;
  const std::string_view text = fuzz::text_of(data, size);
  const auto networks = multus::parse_networks_annotation(text, "default", "fuzzer");
  if (!networks) fuzz::require_told(networks.error());
  if (networks) {
    std::set<std::string> names;
    for (const auto& network : *networks) {
      fuzz::require(!network.name.empty() && !network.ns.empty(), "a network has a name and a namespace");
      fuzz::require(!network.ifname.empty() && network.ifname.size() < 16, "a name is one of a link");
      fuzz::require(names.insert(network.ifname).second, "no two networks get one name", network.ifname);
    }
  }
  const auto network = multus::parse_default_network(text, "kube-system", "fuzzer");
  if (!network) fuzz::require_told(network.error());
  return 0;
}
