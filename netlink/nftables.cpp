// SPDX-License-Identifier: Apache-2.0
#include "netlink/nftables.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <thread>

namespace vmlane::netlink {
namespace {

// nft's numbers of the types a map is shown with (datatype.h), which the kernel keeps without looking.
constexpr std::uint32_t kTypeIpv4Address = 7;
constexpr std::uint32_t kTypeIpv6Address = 8;
// Offsets within the IP headers.
constexpr std::uint32_t kIpv4Source = 12;
constexpr std::uint32_t kIpv4Destination = 16;
constexpr std::uint32_t kIpv6Source = 8;
constexpr std::uint32_t kIpv6Destination = 24;
// A rule's user data is a list of type, length, value; nft shows the one of this type as its comment.
constexpr std::uint8_t kCommentType = 0;
constexpr std::size_t kMaxComment = 128;
// Another writer's change ends one attempt; this many in a row take seconds of nothing but changes.
constexpr int kUpdateAttempts = 1000;
constexpr auto kUpdatePause = std::chrono::milliseconds(2);

nfgenmsg header_of(NftFamily family) {
  return {.nfgen_family = static_cast<std::uint8_t>(family), .version = NFNETLINK_V0, .res_id = 0};
}

std::uint16_t message_type(int type) {
  return static_cast<std::uint16_t>((NFNL_SUBSYS_NFTABLES << 8) | type);
}

Message request_for(int type, int flags, NftFamily family) {
  return {message_type(type), flags, header_of(family)};
}

Message batch_frame(std::uint16_t type) {
  nfgenmsg header{};
  header.nfgen_family = AF_UNSPEC;
  header.version = NFNETLINK_V0;
  header.res_id = htons(NFNL_SUBSYS_NFTABLES);
  return {type, 0, header};
}

// The expressions of a rule; each loads register 1 or decides.
class Expressions {
 public:
  explicit Expressions(Message& message) : message_(message) {}

  void load_meta(std::uint32_t key) {
    expression("meta", [&] {
      message_.put_be32(NFTA_META_KEY, key);
      message_.put_be32(NFTA_META_DREG, NFT_REG_1);
    });
  }
  void compare(std::span<const std::uint8_t> value) {
    expression("cmp", [&] {
      message_.put_be32(NFTA_CMP_SREG, NFT_REG_1);
      message_.put_be32(NFTA_CMP_OP, NFT_CMP_EQ);
      put_value(NFTA_CMP_DATA, value);
    });
  }
  void load_address(bool v6, std::uint32_t offset) {
    load_meta(NFT_META_NFPROTO);
    const std::uint8_t family = v6 ? NFPROTO_IPV6 : NFPROTO_IPV4;
    compare({&family, 1});
    expression("payload", [&] {
      message_.put_be32(NFTA_PAYLOAD_DREG, NFT_REG_1);
      message_.put_be32(NFTA_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER);
      message_.put_be32(NFTA_PAYLOAD_OFFSET, offset);
      message_.put_be32(NFTA_PAYLOAD_LEN, IpAddress{.v6 = v6}.bits() / 8);
    });
  }
  void mask(std::span<const std::uint8_t> mask) {
    const std::vector<std::uint8_t> nothing(mask.size());
    expression("bitwise", [&] {
      message_.put_be32(NFTA_BITWISE_SREG, NFT_REG_1);
      message_.put_be32(NFTA_BITWISE_DREG, NFT_REG_1);
      message_.put_be32(NFTA_BITWISE_LEN, static_cast<std::uint32_t>(mask.size()));
      put_value(NFTA_BITWISE_MASK, mask);
      put_value(NFTA_BITWISE_XOR, nothing);
    });
  }
  void look_up(const std::string& map) {
    expression("lookup", [&] {
      message_.put_string(NFTA_LOOKUP_SET, map);
      message_.put_be32(NFTA_LOOKUP_SREG, NFT_REG_1);
      message_.put_be32(NFTA_LOOKUP_DREG, NFT_REG_VERDICT);
    });
  }
  void decide(std::int32_t code) {
    expression("immediate", [&] {
      message_.put_be32(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
      message_.nest(NFTA_IMMEDIATE_DATA, [&] {
        message_.nest(NFTA_DATA_VERDICT,
                      [&] { message_.put_be32(NFTA_VERDICT_CODE, static_cast<std::uint32_t>(code)); });
      });
    });
  }
  void masquerade() {
    expression("masq", [] {});
  }

 private:
  template <class Fill>
  void expression(const std::string& name, const Fill& fill) {
    message_.nest(NFTA_LIST_ELEM, [&] {
      message_.put_string(NFTA_EXPR_NAME, name);
      message_.nest(NFTA_EXPR_DATA, fill);
    });
  }
  void put_value(int type, std::span<const std::uint8_t> value) {
    message_.nest(type, [&] { message_.put(NFTA_DATA_VALUE, value); });
  }

  Message& message_;
};

void put_link(Expressions& expressions, std::uint32_t key, const std::string& link) {
  if (link.empty()) return;
  // The kernel compares the whole field, which is filled up with zeros.
  std::array<std::uint8_t, 16> name{};
  std::copy_n(link.begin(), std::min(link.size(), name.size() - 1), name.begin());
  expressions.load_meta(key);
  expressions.compare(name);
}

void put_destination(Expressions& expressions, const IpPrefix& destination) {
  const bool v6 = destination.address.v6;
  const std::size_t size = destination.address.bits() / 8;
  expressions.load_address(v6, v6 ? kIpv6Destination : kIpv4Destination);
  if (destination.length < destination.address.bits()) {
    IpPrefix ones{.address = {.v6 = v6}, .length = destination.length};
    ones.address.bytes.fill(0xff);
    const IpPrefix mask = ones.network();
    expressions.mask(std::span(mask.address.bytes).first(size));
  }
  const IpPrefix network = destination.network();
  expressions.compare(std::span(network.address.bytes).first(size));
}

void put_action(Expressions& expressions, const NftRule& rule) {
  if (const auto* lookup = std::get_if<NftSourceLookup>(&rule.action)) {
    expressions.load_address(lookup->v6, lookup->v6 ? kIpv6Source : kIpv4Source);
    expressions.look_up(lookup->map);
    return;
  }
  switch (std::get<NftVerdict>(rule.action)) {
    case NftVerdict::kAccept:
      return expressions.decide(NF_ACCEPT);
    case NftVerdict::kReturn:
      return expressions.decide(NFT_RETURN);
    case NftVerdict::kMasquerade:
      return expressions.masquerade();
  }
}

void put_comment(Message& message, const std::string& comment) {
  if (comment.empty()) return;
  const std::string text = comment.substr(0, kMaxComment - 1);
  std::vector<std::uint8_t> data = {kCommentType, static_cast<std::uint8_t>(text.size() + 1)};
  data.insert(data.end(), text.begin(), text.end());
  data.push_back(0);
  message.put(NFTA_RULE_USERDATA, data);
}

std::string comment_in(std::span<const std::uint8_t> data) {
  while (data.size() >= 2) {
    const std::size_t length = std::min<std::size_t>(data[1], data.size() - 2);
    const auto value = data.subspan(2, length);
    if (data[0] == kCommentType) return {value.begin(), std::ranges::find(value, std::uint8_t{0})};
    data = data.subspan(2 + length);
  }
  return {};
}

bool nothing_there(const Reply& reply) {
  return reply.error == ENOENT;
}

std::optional<NftFamily> family_of(std::uint8_t number) {
  for (const NftFamily family : {NftFamily::kInet, NftFamily::kIp, NftFamily::kIp6}) {
    if (static_cast<std::uint8_t>(family) == number) return family;
  }
  return std::nullopt;
}

void parse_elements(const ReceivedMessage& message, bool v6, std::vector<NftElement>& elements) {
  const auto attributes = message.attributes<nfgenmsg>(NFTA_SET_ELEM_LIST_MAX);
  for (const auto& bytes : list_elements(attributes.bytes(NFTA_SET_ELEM_LIST_ELEMENTS))) {
    const Attributes element(bytes, NFTA_SET_ELEM_MAX);
    const auto address = element.nested(NFTA_SET_ELEM_KEY, NFTA_DATA_MAX).address(NFTA_DATA_VALUE, v6);
    const std::string chain = element.nested(NFTA_SET_ELEM_DATA, NFTA_DATA_MAX)
                                  .nested(NFTA_DATA_VERDICT, NFTA_VERDICT_MAX)
                                  .string(NFTA_VERDICT_CHAIN);
    if (address) elements.push_back({*address, chain});
  }
}

std::optional<NftBaseChain> parse_base_chain(const ReceivedMessage& message, NftPoint point) {
  const auto family = family_of(message.head<nfgenmsg>().nfgen_family);
  const auto attributes = message.attributes<nfgenmsg>(NFTA_CHAIN_MAX);
  if (!family || !attributes.has(NFTA_CHAIN_HOOK)) return std::nullopt;
  const auto hook = attributes.nested(NFTA_CHAIN_HOOK, NFTA_HOOK_MAX).be32(NFTA_HOOK_HOOKNUM);
  if (hook != static_cast<std::uint32_t>(point)) return std::nullopt;
  return NftBaseChain{
      .chain = {{*family, attributes.string(NFTA_CHAIN_TABLE)}, attributes.string(NFTA_CHAIN_NAME)},
      .drops = attributes.be32(NFTA_CHAIN_POLICY) == NF_DROP};
}

}  // namespace

std::string to_string(NftFamily family) {
  switch (family) {
    case NftFamily::kInet:
      return "inet";
    case NftFamily::kIp:
      return "ip";
    case NftFamily::kIp6:
      return "ip6";
  }
  return {};
}

Message& NftBatch::add(int type, int flags) {
  return changes_.emplace_back(request_for(type, flags, table_.family));
}

void NftBatch::put_chain(Message& message, const std::string& chain) const {
  message.put_string(NFTA_CHAIN_TABLE, table_.name);
  message.put_string(NFTA_CHAIN_NAME, chain);
}

void NftBatch::make_table() {
  add(NFT_MSG_NEWTABLE, NLM_F_CREATE).put_string(NFTA_TABLE_NAME, table_.name);
}

void NftBatch::delete_table() {
  add(NFT_MSG_DELTABLE, 0).put_string(NFTA_TABLE_NAME, table_.name);
}

void NftBatch::make_chain(const std::string& name) {
  put_chain(add(NFT_MSG_NEWCHAIN, NLM_F_CREATE), name);
}

void NftBatch::make_base_chain(const std::string& name, const NftHook& hook) {
  Message& message = add(NFT_MSG_NEWCHAIN, NLM_F_CREATE);
  put_chain(message, name);
  message.nest(NFTA_CHAIN_HOOK, [&] {
    message.put_be32(NFTA_HOOK_HOOKNUM, static_cast<std::uint32_t>(hook.point));
    message.put_be32(NFTA_HOOK_PRIORITY, static_cast<std::uint32_t>(hook.priority));
  });
  message.put_be32(NFTA_CHAIN_POLICY, NF_ACCEPT);
  message.put_string(NFTA_CHAIN_TYPE, hook.type);
}

void NftBatch::empty_chain(const std::string& name) {
  Message& message = add(NFT_MSG_DELRULE, 0);
  message.put_string(NFTA_RULE_TABLE, table_.name);
  message.put_string(NFTA_RULE_CHAIN, name);
}

void NftBatch::delete_chain(const std::string& name) {
  put_chain(add(NFT_MSG_DELCHAIN, 0), name);
}

void NftBatch::make_map(const std::string& name, bool v6) {
  Message& message = add(NFT_MSG_NEWSET, NLM_F_CREATE);
  message.put_string(NFTA_SET_TABLE, table_.name);
  message.put_string(NFTA_SET_NAME, name);
  message.put_be32(NFTA_SET_FLAGS, NFT_SET_MAP);
  message.put_be32(NFTA_SET_KEY_TYPE, v6 ? kTypeIpv6Address : kTypeIpv4Address);
  message.put_be32(NFTA_SET_KEY_LEN, IpAddress{.v6 = v6}.bits() / 8);
  message.put_be32(NFTA_SET_DATA_TYPE, NFT_DATA_VERDICT);
  // By which later messages of the batch could name it; they use the name, but the kernel insists.
  message.put_be32(NFTA_SET_ID, v6 ? 2 : 1);
}

void NftBatch::add_element(const std::string& map, const IpAddress& address, const std::string& chain) {
  Message& message = add(NFT_MSG_NEWSETELEM, NLM_F_CREATE);
  message.put_string(NFTA_SET_ELEM_LIST_TABLE, table_.name);
  message.put_string(NFTA_SET_ELEM_LIST_SET, map);
  message.nest(NFTA_SET_ELEM_LIST_ELEMENTS, [&] {
    message.nest(NFTA_LIST_ELEM, [&] {
      message.nest(NFTA_SET_ELEM_KEY, [&] { message.put(NFTA_DATA_VALUE, address); });
      message.nest(NFTA_SET_ELEM_DATA, [&] {
        message.nest(NFTA_DATA_VERDICT, [&] {
          message.put_be32(NFTA_VERDICT_CODE, static_cast<std::uint32_t>(NFT_GOTO));
          message.put_string(NFTA_VERDICT_CHAIN, chain);
        });
      });
    });
  });
}

void NftBatch::delete_element(const std::string& map, const IpAddress& address) {
  Message& message = add(NFT_MSG_DELSETELEM, 0);
  message.put_string(NFTA_SET_ELEM_LIST_TABLE, table_.name);
  message.put_string(NFTA_SET_ELEM_LIST_SET, map);
  message.nest(NFTA_SET_ELEM_LIST_ELEMENTS, [&] {
    message.nest(NFTA_LIST_ELEM,
                 [&] { message.nest(NFTA_SET_ELEM_KEY, [&] { message.put(NFTA_DATA_VALUE, address); }); });
  });
}

void NftBatch::put_rule(const std::string& chain, const NftRule& rule, int flags) {
  Message& message = add(NFT_MSG_NEWRULE, flags);
  message.put_string(NFTA_RULE_TABLE, table_.name);
  message.put_string(NFTA_RULE_CHAIN, chain);
  message.nest(NFTA_RULE_EXPRESSIONS, [&] {
    Expressions expressions(message);
    put_link(expressions, NFT_META_IIFNAME, rule.in_link);
    put_link(expressions, NFT_META_OIFNAME, rule.out_link);
    if (rule.destination) put_destination(expressions, *rule.destination);
    put_action(expressions, rule);
  });
  put_comment(message, rule.comment);
}

void NftBatch::append_rule(const std::string& chain, const NftRule& rule) {
  put_rule(chain, rule, NLM_F_CREATE | NLM_F_APPEND);
}

void NftBatch::insert_rule(const std::string& chain, const NftRule& rule) {
  put_rule(chain, rule, NLM_F_CREATE);
}

void NftBatch::delete_rule(const std::string& chain, std::uint64_t handle) {
  Message& message = add(NFT_MSG_DELRULE, 0);
  message.put_string(NFTA_RULE_TABLE, table_.name);
  message.put_string(NFTA_RULE_CHAIN, chain);
  message.put_be64(NFTA_RULE_HANDLE, handle);
}

Result<Nftables> Nftables::open(const Namespace& network_namespace) {
  // A kernel without netfilter has no such protocol, which libnl's error would not tell.
  const Fd probe(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
  if (!probe && errno == EPROTONOSUPPORT) return fail(Code::kNotFound, "this kernel has no netfilter");
  VMLANE_ASSIGN(Socket socket, Socket::open(network_namespace, NETLINK_NETFILTER));
  Nftables nftables(std::move(socket));
  VMLANE_TRY(nftables.generation());
  return nftables;
}

Result<std::uint32_t> Nftables::generation() {
  Message message = request_for(NFT_MSG_GETGEN, 0, NftFamily::kInet);
  VMLANE_ASSIGN(const Reply reply, socket_.request(message));
  if (reply.error == EINVAL || reply.error == EOPNOTSUPP)
    return fail(Code::kNotFound, "this kernel has no nf_tables", "load the module nf_tables");
  if (!reply.ok()) return fail(reply.to_error("ask nf_tables for its generation"));
  if (reply.messages.empty()) return fail(Code::kKernel, "nf_tables does not tell its generation");
  return reply.messages.front().attributes<nfgenmsg>(NFTA_GEN_MAX).be32(NFTA_GEN_ID).value_or(0);
}

Result<std::optional<std::uint32_t>> Nftables::objects_in(const NftTable& table) {
  Message message = request_for(NFT_MSG_GETTABLE, 0, table.family);
  message.put_string(NFTA_TABLE_NAME, table.name);
  VMLANE_ASSIGN(const Reply reply, socket_.request(message));
  if (nothing_there(reply)) return std::nullopt;
  if (!reply.ok()) return fail(reply.to_error("look up nf_tables table " + table.name));
  if (reply.messages.empty()) return std::nullopt;
  return reply.messages.front().attributes<nfgenmsg>(NFTA_TABLE_MAX).be32(NFTA_TABLE_USE);
}

Result<bool> Nftables::has_chain(const NftChain& chain) {
  Message message = request_for(NFT_MSG_GETCHAIN, 0, chain.table.family);
  message.put_string(NFTA_CHAIN_TABLE, chain.table.name);
  message.put_string(NFTA_CHAIN_NAME, chain.name);
  VMLANE_ASSIGN(const Reply reply, socket_.request(message));
  if (nothing_there(reply)) return false;
  if (!reply.ok()) return fail(reply.to_error("look up nf_tables chain " + chain.name));
  return true;
}

Result<std::vector<NftElement>> Nftables::elements(const NftTable& table, const std::string& map, bool v6) {
  Message message = request_for(NFT_MSG_GETSETELEM, NLM_F_DUMP, table.family);
  message.put_string(NFTA_SET_ELEM_LIST_TABLE, table.name);
  message.put_string(NFTA_SET_ELEM_LIST_SET, map);
  VMLANE_ASSIGN(const Reply reply, socket_.dump(message));
  std::vector<NftElement> elements;
  if (nothing_there(reply)) return elements;
  if (!reply.ok()) return fail(reply.to_error("list the elements of nf_tables map " + map));
  for (const ReceivedMessage& part : reply.messages) parse_elements(part, v6, elements);
  return elements;
}

Result<std::vector<NftRuleEntry>> Nftables::rules(const NftChain& chain) {
  Message message = request_for(NFT_MSG_GETRULE, NLM_F_DUMP, chain.table.family);
  message.put_string(NFTA_RULE_TABLE, chain.table.name);
  message.put_string(NFTA_RULE_CHAIN, chain.name);
  VMLANE_ASSIGN(const Reply reply, socket_.dump(message));
  std::vector<NftRuleEntry> rules;
  if (nothing_there(reply)) return rules;
  if (!reply.ok()) return fail(reply.to_error("list the rules of nf_tables chain " + chain.name));
  for (const ReceivedMessage& part : reply.messages) {
    const auto attributes = part.attributes<nfgenmsg>(NFTA_RULE_MAX);
    rules.push_back({.handle = attributes.be64(NFTA_RULE_HANDLE).value_or(0),
                     .comment = comment_in(attributes.bytes(NFTA_RULE_USERDATA))});
  }
  return rules;
}

Result<std::vector<NftBaseChain>> Nftables::base_chains(NftPoint point) {
  nfgenmsg every_family{};
  every_family.nfgen_family = AF_UNSPEC;
  Message message(message_type(NFT_MSG_GETCHAIN), NLM_F_DUMP, every_family);
  VMLANE_ASSIGN(const Reply reply, socket_.dump(message));
  if (!reply.ok()) return fail(reply.to_error("list the chains of nf_tables"));
  std::vector<NftBaseChain> chains;
  for (const ReceivedMessage& part : reply.messages) {
    if (auto chain = parse_base_chain(part, point)) chains.push_back(std::move(*chain));
  }
  return chains;
}

Result<Reply> Nftables::commit(NftBatch& batch) {
  return commit(batch, std::nullopt);
}

Result<Reply> Nftables::commit(NftBatch& batch, std::optional<std::uint32_t> generation) {
  if (batch.empty()) return Reply{};
  std::vector<Message> messages;
  messages.push_back(batch_frame(NFNL_MSG_BATCH_BEGIN));
  if (generation) messages.back().put_be32(NFNL_BATCH_GENID, *generation);
  std::ranges::move(batch.changes_, std::back_inserter(messages));
  batch.changes_.clear();
  messages.push_back(batch_frame(NFNL_MSG_BATCH_END));
  return socket_.commit(messages);
}

Result<> Nftables::update(const NftTable& table, const std::string& what,
                          const std::function<Result<>(NftBatch&)>& plan) {
  for (int attempt = 0; attempt < kUpdateAttempts; attempt++) {
    VMLANE_ASSIGN(const std::uint32_t seen, generation());
    NftBatch batch(table);
    VMLANE_TRY(plan(batch));
    VMLANE_ASSIGN(const Reply reply, commit(batch, seen));
    if (reply.ok()) return {};
    // The kernel's word for "the rules are no longer of that generation".
    if (reply.error != ERESTART) return fail(reply.to_error(what));
    std::this_thread::sleep_for(kUpdatePause);
  }
  return fail(Code::kTryAgain, "cannot " + what + ": others changed nf_tables during each of " +
                                   std::to_string(kUpdateAttempts) + " attempts");
}

}  // namespace vmlane::netlink
