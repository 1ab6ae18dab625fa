// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/address.h"
#include "core/error.h"
#include "netlink/message.h"
#include "netlink/namespace.h"
#include "netlink/socket.h"

// As much of nf_tables as this project needs, over nfnetlink (linux/netfilter/nf_tables.h), for this room
// alone: masquerade.h and forward_filter.h are what others use. No program is run, and of Debian's libraries
// libnftnl needs libmnl, which has no static form.
//
// Changes are batches, of which the kernel carries out all or nothing, without a packet seeing half of it.
// Rules are written and counted, never read: those of others may hold anything.
namespace vmlane::netlink {

// NFPROTO_*: what a table's chains see.
enum class NftFamily : std::uint8_t { kInet = 1, kIp = 2, kIp6 = 10 };
std::string to_string(NftFamily family);

struct NftTable {
  NftFamily family = NftFamily::kInet;
  std::string name;
};

struct NftChain {
  NftTable table;
  std::string name;
};

// NF_INET_*: where on a packet's way.
enum class NftPoint : std::uint32_t { kForward = 2, kPostrouting = 4 };

// Makes a chain a base chain: the kernel enters it there.
struct NftHook {
  std::string type;  // "filter", "nat"
  NftPoint point = NftPoint::kForward;
  std::int32_t priority = 0;
};

enum class NftVerdict { kAccept, kReturn, kMasquerade };

// What the map says about the source address: "ip saddr vmap @map".
struct NftSourceLookup {
  std::string map;
  bool v6 = false;
};

// What is set must hold for the action to be taken.
struct NftRule {
  std::string in_link;
  std::string out_link;
  std::optional<IpPrefix> destination;
  std::variant<NftVerdict, NftSourceLookup> action = NftVerdict::kAccept;
  std::string comment;  // at most 128 bytes, as nft has it
};

// A change of one table, made of parts. What is there already may be made again.
class NftBatch {
 public:
  explicit NftBatch(NftTable table) : table_(std::move(table)) {}

  void make_table();
  void delete_table();
  void make_chain(const std::string& name);
  void make_base_chain(const std::string& name, const NftHook& hook);
  // Removes the chain's rules.
  void empty_chain(const std::string& name);
  void delete_chain(const std::string& name);
  // From addresses of a family to chains.
  void make_map(const std::string& name, bool v6);
  void add_element(const std::string& map, const IpAddress& address, const std::string& chain);
  void delete_element(const std::string& map, const IpAddress& address);
  void append_rule(const std::string& chain, const NftRule& rule);
  // At the chain's head.
  void insert_rule(const std::string& chain, const NftRule& rule);
  void delete_rule(const std::string& chain, std::uint64_t handle);

  bool empty() const { return changes_.empty(); }

 private:
  friend class Nftables;
  Message& add(int type, int flags);
  void put_chain(Message& message, const std::string& chain) const;
  void put_rule(const std::string& chain, const NftRule& rule, int flags);

  NftTable table_;
  std::vector<Message> changes_;
};

struct NftElement {
  IpAddress address;
  std::string chain;  // where it leads
};

struct NftRuleEntry {
  std::uint64_t handle = 0;
  std::string comment;
};

struct NftBaseChain {
  NftChain chain;
  bool drops = false;  // what no rule decides about
};

// Reads and changes the nf_tables of one namespace. What is not there is an empty answer.
class Nftables {
 public:
  // Code::kNotFound when the kernel has no nf_tables.
  static Result<Nftables> open(const Namespace& network_namespace);

  // Chains, maps and the like that the table holds; no value when there is no table.
  Result<std::optional<std::uint32_t>> objects_in(const NftTable& table);
  Result<bool> has_chain(const NftChain& chain);
  Result<std::vector<NftElement>> elements(const NftTable& table, const std::string& map, bool v6);
  Result<std::vector<NftRuleEntry>> rules(const NftChain& chain);
  // Base chains of the families ip, ip6 and inet at a point.
  Result<std::vector<NftBaseChain>> base_chains(NftPoint point);

  // Carries the batch out; the reply says what the kernel made of it.
  Result<Reply> commit(NftBatch& batch);
  // Carries out what `plan` puts into an empty batch after looking at the rules, and begins again when they
  // were changed in between. Errors say that `what` could not be done; Code::kTryAgain when it went on too
  // long.
  Result<> update(const NftTable& table, const std::string& what,
                  const std::function<Result<>(NftBatch&)>& plan);

 private:
  explicit Nftables(Socket socket) : socket_(std::move(socket)) {}
  Result<std::uint32_t> generation();
  Result<Reply> commit(NftBatch& batch, std::optional<std::uint32_t> generation);

  Socket socket_;
};

}  // namespace vmlane::netlink
