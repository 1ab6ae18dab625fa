// SPDX-License-Identifier: Apache-2.0
#include "netlink/masquerade.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include "netlink/nftables.h"

namespace vmlane::netlink {
namespace {

const NftTable kMasqueradeTable{NftFamily::kInet, "vmlane"};
constexpr const char* kPostrouting = "postrouting";
constexpr std::int32_t kSourceNat = 100;  // NF_IP_PRI_NAT_SRC
// The table's own objects: the base chain and the two maps.
constexpr std::uint32_t kOwnObjects = 3;
constexpr std::array<bool, 2> kFamilies = {false, true};  // v6?

const char* map_of(bool v6) {
  return v6 ? "source6" : "source4";
}

std::string chain_of(const std::string& owner) {
  return "att-" + owner;
}

IpPrefix multicast(bool v6) {
  IpPrefix prefix{.address = {.v6 = v6}, .length = v6 ? 8U : 4U};
  prefix.address.bytes[0] = v6 ? 0xff : 0xe0;
  return prefix;
}

// What the owner's chain holds.
std::vector<NftRule> rules_for(const Masquerade& masquerade) {
  std::vector<NftRule> rules;
  for (const bool v6 : kFamilies) {
    const auto first = rules.size();
    for (const IpPrefix& address : masquerade.addresses) {
      if (address.address.v6 == v6)
        rules.push_back({.destination = address.network(), .action = NftVerdict::kReturn});
    }
    if (rules.size() > first) rules.push_back({.destination = multicast(v6), .action = NftVerdict::kReturn});
  }
  rules.push_back({.action = NftVerdict::kMasquerade});
  return rules;
}

void put_table(NftBatch& batch) {
  batch.make_table();
  batch.make_base_chain(kPostrouting,
                        {.type = "nat", .point = NftPoint::kPostrouting, .priority = kSourceNat});
  batch.empty_chain(kPostrouting);
  for (const bool v6 : kFamilies) {
    batch.make_map(map_of(v6), v6);
    batch.append_rule(kPostrouting, {.action = NftSourceLookup{map_of(v6), v6}});
  }
}

void put_owner(NftBatch& batch, const Masquerade& masquerade) {
  const std::string chain = chain_of(masquerade.owner);
  batch.make_chain(chain);
  batch.empty_chain(chain);
  for (const NftRule& rule : rules_for(masquerade)) batch.append_rule(chain, rule);
  for (const IpPrefix& address : masquerade.addresses)
    batch.add_element(map_of(address.address.v6), address.address, chain);
}

std::string subject(const Masquerade& masquerade) {
  std::string text;
  for (const IpPrefix& address : masquerade.addresses)
    text += (text.empty() ? "" : ", ") + address.address.to_string();
  return "masquerade " + text;
}

// All of both maps.
Result<std::vector<NftElement>> all_elements(Nftables& nftables) {
  std::vector<NftElement> all;
  for (const bool v6 : kFamilies) {
    VMLANE_ASSIGN(const auto elements, nftables.elements(kMasqueradeTable, map_of(v6), v6));
    all.insert(all.end(), elements.begin(), elements.end());
  }
  return all;
}

// The same with the elements of others that have one of the addresses taken away first.
Result<> take_over(Nftables& nftables, const Masquerade& masquerade) {
  return nftables.update(kMasqueradeTable, subject(masquerade), [&](NftBatch& batch) -> Result<> {
    VMLANE_ASSIGN(const auto elements, all_elements(nftables));
    for (const NftElement& element : elements) {
      const bool wanted = std::ranges::any_of(
          masquerade.addresses, [&](const IpPrefix& address) { return address.address == element.address; });
      if (wanted) batch.delete_element(map_of(element.address.v6), element.address);
    }
    put_table(batch);
    put_owner(batch, masquerade);
    return {};
  });
}

}  // namespace

Result<> set_masquerade(const Namespace& network_namespace, const Masquerade& masquerade) {
  VMLANE_ASSIGN(Nftables nftables, Nftables::open(network_namespace));
  NftBatch batch(kMasqueradeTable);
  put_table(batch);
  put_owner(batch, masquerade);
  VMLANE_ASSIGN(const Reply reply, nftables.commit(batch));
  if (reply.ok()) return {};
  // An element that leads elsewhere is not replaced by itself.
  if (reply.error == EBUSY || reply.error == EEXIST) return take_over(nftables, masquerade);
  return fail(reply.to_error(subject(masquerade)));
}

Result<bool> has_masquerade(const Namespace& network_namespace, const Masquerade& masquerade) {
  auto nftables = Nftables::open(network_namespace);
  if (!nftables && nftables.error().code == Code::kNotFound) return false;
  if (!nftables) return fail(nftables.error());
  VMLANE_ASSIGN(const auto lookups, nftables->rules({kMasqueradeTable, kPostrouting}));
  VMLANE_ASSIGN(const auto rules, nftables->rules({kMasqueradeTable, chain_of(masquerade.owner)}));
  VMLANE_ASSIGN(const auto elements, all_elements(*nftables));
  const bool mapped = std::ranges::all_of(masquerade.addresses, [&](const IpPrefix& address) {
    return std::ranges::any_of(elements,
                               [&](const NftElement& element) { return element.address == address.address; });
  });
  return mapped && lookups.size() == kFamilies.size() && rules.size() == rules_for(masquerade).size();
}

Result<> remove_masquerade(const Namespace& network_namespace, const std::string& owner) {
  auto nftables = Nftables::open(network_namespace);
  if (!nftables && nftables.error().code == Code::kNotFound) return {};
  if (!nftables) return fail(nftables.error());
  const std::string chain = chain_of(owner);
  return nftables->update(kMasqueradeTable, "remove the masquerading of " + owner,
                          [&](NftBatch& batch) -> Result<> {
                            VMLANE_ASSIGN(const bool there, nftables->has_chain({kMasqueradeTable, chain}));
                            if (!there) return {};
                            VMLANE_ASSIGN(const auto objects, nftables->objects_in(kMasqueradeTable));
                            if (objects && *objects <= kOwnObjects + 1) {
                              batch.delete_table();
                              return {};
                            }
                            VMLANE_ASSIGN(const auto elements, all_elements(*nftables));
                            for (const NftElement& element : elements) {
                              if (element.chain == chain)
                                batch.delete_element(map_of(element.address.v6), element.address);
                            }
                            batch.delete_chain(chain);
                            return {};
                          });
}

}  // namespace vmlane::netlink
