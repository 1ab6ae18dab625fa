// SPDX-License-Identifier: Apache-2.0
#include "dataplane/forwarder.h"

#include <arpa/inet.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "answers/native.h"
#include "dataplane/offload.h"
#include "dataplane/source_guard.h"

namespace vmlane::dataplane {
namespace {

constexpr std::size_t kQueued = 2 * kBurst;

MacAddress mac_at(const rte_mbuf& frame, std::uint32_t offset) {
  MacAddress mac;
  std::memcpy(mac.bytes.data(), rte_pktmbuf_mtod_offset(&frame, const void*, offset), mac.bytes.size());
  return mac;
}

bool is_group(const MacAddress& mac) {
  return (mac.bytes[0] & 1) != 0;
}

// Addresses that no bridge forwards (IEEE 802.1Q, table 8-1).
bool is_link_local_group(const MacAddress& mac) {
  constexpr std::array<std::uint8_t, 5> kReserved = {0x01, 0x80, 0xc2, 0x00, 0x00};
  constexpr std::uint8_t kFirstForwarded = 0x10;
  return std::equal(kReserved.begin(), kReserved.end(), mac.bytes.begin()) && mac.bytes[5] < kFirstForwarded;
}

std::uint16_t load16(std::span<const std::uint8_t> bytes, std::size_t at) {
  std::uint16_t value = 0;
  if (at + sizeof value <= bytes.size()) std::memcpy(&value, bytes.data() + at, sizeof value);
  return ntohs(value);
}

// Whether the answering rules could have something to say: ARP, DHCP, DHCPv6 and neighbour discovery. All
// else is spared the copy.
bool may_be_question(std::span<const std::uint8_t> bytes, const FrameHeaders& headers) {
  constexpr std::uint16_t kArp = 0x0806;
  constexpr std::uint16_t kDhcpServer = 67;
  constexpr std::uint16_t kDhcpv6Server = 547;
  constexpr std::size_t kType = 12;
  if (headers.tagged) return false;
  if (headers.family == 0) return load16(bytes, kType) == kArp;
  const std::size_t transport = std::size_t{headers.l2} + headers.l3;
  if (headers.protocol == IPPROTO_UDP && headers.l4 != 0) {
    const std::uint16_t port = load16(bytes, transport + sizeof(std::uint16_t));
    return port == kDhcpServer || port == kDhcpv6Server;
  }
  if (headers.protocol != IPPROTO_ICMPV6 || transport >= bytes.size()) return false;
  return bytes[transport] == ND_ROUTER_SOLICIT || bytes[transport] == ND_NEIGHBOR_SOLICIT;
}

bool needs_segmentation(const rte_mbuf& frame, const Offloads& offloads) {
  if ((frame.ol_flags & RTE_MBUF_F_TX_TCP_SEG) == 0) return false;
  return !((frame.ol_flags & RTE_MBUF_F_TX_IPV4) != 0 ? offloads.tso4 : offloads.tso6);
}

}  // namespace

void Forwarder::add(Port& port, PortRules rules, std::uint64_t now) {
  const auto free =
      std::ranges::find_if(members_, [](const auto& member) { return member->port == nullptr; });
  const auto id = static_cast<PortId>(free - members_.begin());
  if (free == members_.end()) members_.push_back(std::make_unique<Member>());
  Member& member = *members_[id];
  Network& network = networks_[rules.network];
  network.users++;
  network.members.push_back(id);
  port.id = id;
  member = Member{.port = &port, .rules = std::move(rules), .network = &network};
  member.out.reserve(kQueued);
  if (member.rules.policy) member.subject = &policy_.add(port.name(), *member.rules.policy, now);
  const auto& guard = member.rules.guard;
  const std::uint32_t flags = guard ? guard->flags : 0;
  member.learns = (flags & VMLANE_GUARD_MACS) == 0;
  member.takes_everything = (flags & VMLANE_GUARD_FULL) == 0 || (flags & VMLANE_GUARD_ANY_DESTINATION) != 0;
  if (member.rules.mac) network.macs.fix(*member.rules.mac, id);
  for (std::uint32_t i = 0; guard && i < guard->mac_count; i++) {
    MacAddress mac;
    std::memcpy(mac.bytes.data(), guard->macs[i], mac.bytes.size());
    network.macs.fix(mac, id);
  }
}

void Forwarder::remove(Port& port) {
  if (port.id >= members_.size() || members_[port.id]->port != &port) return;
  Member& member = *members_[port.id];
  Network& network = *member.network;
  network.macs.forget(port.id);
  if (member.subject != nullptr) policy_.forget(*member.subject);
  std::erase(network.members, port.id);
  if (--network.users == 0) networks_.erase(member.rules.network);
  member = Member{};
}

const Forwarder::Member* Forwarder::member_of(const Port& port) const {
  const bool known = port.id < members_.size() && members_[port.id]->port == &port;
  return known ? members_[port.id].get() : nullptr;
}

Forwarder::Member* Forwarder::member_of(const Port& port) {
  return const_cast<Member*>(std::as_const(*this).member_of(port));
}

void Forwarder::quarantine(const Port& port, bool quarantined) {
  if (Member* member = member_of(port)) member->quarantined = quarantined;
}

void Forwarder::capture(const Port& port, std::unique_ptr<Capture> capture) {
  Member* member = member_of(port);
  if (member == nullptr) return;
  member->capture = std::move(capture);
  member->watched = member->capture || member->tracer;
}

Capture* Forwarder::capture_of(const Port& port) {
  Member* member = member_of(port);
  return member == nullptr ? nullptr : member->capture.get();
}

std::vector<PolicyGate::Flow> Forwarder::flows(const Port* port, std::uint64_t now) const {
  if (port == nullptr) return policy_.flows(nullptr, now);
  const Member* member = member_of(*port);
  if (member == nullptr || member->subject == nullptr) return {};
  return policy_.flows(member->subject, now);
}

std::size_t Forwarder::flush_flows(const Port* port, std::uint64_t now) {
  const std::size_t count = flows(port, now).size();
  const Member* member = port == nullptr ? nullptr : member_of(*port);
  if (port == nullptr || (member != nullptr && member->subject != nullptr))
    policy_.flush(port == nullptr ? nullptr : member->subject);
  return count;
}

const PortRules* Forwarder::rules_of(const Port& port) const {
  const Member* member = member_of(port);
  return member == nullptr ? nullptr : &member->rules;
}

std::vector<Forwarder::MacView> Forwarder::macs(std::uint64_t now) const {
  std::vector<MacView> all;
  for (const auto& [name, network] : networks_) {
    for (const MacTable::Entry& entry : network.macs.entries(now))
      all.push_back({name, members_[entry.port]->port->name(), entry});
  }
  return all;
}

void Forwarder::arm() {
  for (const auto& member : members_) {
    if (member->port != nullptr) member->port->arm();
  }
}

void Forwarder::disarm() {
  for (const auto& member : members_) {
    if (member->port != nullptr) member->port->disarm();
  }
}

unsigned Forwarder::round(std::uint64_t now) {
  unsigned total = 0;
  std::uint64_t began = now;
  for (const auto& member : members_) {
    if (member->port == nullptr) continue;
    const unsigned count = serve(*member, now);
    if (count == 0) continue;
    total += count;
    const std::uint64_t ended = clock_ns();
    member->turns.spent(count, ended - began);
    began = ended;
  }
  flush_all();
  return total;
}

// One port's turn; how many frames came in.
unsigned Forwarder::serve(Member& from, std::uint64_t now) {
  // What takes that long to be copied is the sender's, and not to be left for the end of the round.
  constexpr std::uint64_t kMuch = 65536;
  std::array<rte_mbuf*, kBurst> frames;
  const unsigned most = from.turns.frames();
  const std::uint64_t before = from.port->counters.received_bytes;
  const unsigned count = from.port->receive(std::span(frames).first(most), now);
  if (count == most && most < kBurst) from.port->counters.short_turns++;
  for (unsigned i = 0; i < count; i++) take(from, FramePtr(frames[i]), now);
  if (from.port->counters.received_bytes - before >= kMuch) flush_all();
  return count;
}

void Forwarder::flush_all() {
  for (Member* member : dirty_) flush(*member);
  dirty_.clear();
}

// What a guest may not send its QEMU may not have said in its place.
bool Forwarder::may_announce(Member& from, const MacAddress& mac, std::uint64_t now) {
  const auto refuse = [&](DropReason reason) {
    from.port->drop(reason);
    return false;
  };
  if (!mac.usable()) return refuse(DropReason::kMalformed);
  if (from.learns)
    return from.network->macs.learn(mac, from.port->id, now) || refuse(DropReason::kLocalSource);
  const auto owner = from.network->macs.find(mac, now);
  return owner == from.port->id || refuse(static_cast<DropReason>(VMLANE_GUARD_BAD_MAC));
}

void Forwarder::announce_to(Member& from, Member& to, std::span<const std::uint8_t> bytes) {
  FramePtr frame(rte_pktmbuf_alloc(pool_));
  if (!frame || !append(*frame, bytes, *pool_)) return from.port->drop(DropReason::kNoBuffer);
  queue(to, std::move(frame));
}

void Forwarder::announce(Port& port, const MacAddress& mac, std::uint64_t now) {
  Member* const found = member_of(port);
  if (found == nullptr) return;
  Member& from = *found;
  if (from.quarantined) return port.drop(DropReason::kQuarantined);
  if (!may_announce(from, mac, now)) return;
  // The addresses are those of the NIC's own MAC.
  const bool own = mac == from.rules.mac;
  const Announcement told = make_announcement(
      mac, own ? std::span<const IpAddress>(from.rules.addresses) : std::span<const IpAddress>());
  if (!from.floods.allows(now)) return port.drop(DropReason::kFloodLimit);
  port.counters.announced++;
  for (const PortId id : from.network->members) {
    Member& to = *members_[id];
    if (&to == &from || !to.port->linked() || to.quarantined) continue;
    if (from.rules.isolated && to.rules.isolated) continue;
    if (to.takes_everything) announce_to(from, to, told.for_switches);
    for (const auto& frame : told.for_stations) announce_to(from, to, frame);
  }
  flush_all();
}

void Forwarder::take(Member& from, FramePtr frame, std::uint64_t now) {
  if (from.watched) [[unlikely]]
    return take_watched(from, std::move(frame), now);
  process(from, std::move(frame), now);
}

void Forwarder::process(Member& from, FramePtr frame, std::uint64_t now) {
  if (from.quarantined) return from.port->drop(DropReason::kQuarantined);
  if (frame->data_len < sizeof(rte_ether_hdr)) return from.port->drop(DropReason::kMalformed);
  if (!admit(from, *frame) || answered(from, frame) || !learn(from, *frame, now)) return;
  if (!permits(from, *frame, VMLANE_POLICY_EGRESS, false, now)) return;
  if (!within(from, from.rules.egress, *frame)) return;
  forward(from, std::move(frame), now);
}

bool Forwarder::admit(Member& from, rte_mbuf& frame) {
  if (from.rules.guard) {
    const auto head = head_of(&frame);
    const int reason =
        vmlane_native_guard(head.data(), static_cast<std::uint32_t>(head.size()), &*from.rules.guard);
    if (trace_ != nullptr) [[unlikely]]
      note_reason("source-guard", from, static_cast<DropReason>(reason));
    if (reason != VMLANE_GUARD_PASS) {
      from.port->drop(static_cast<DropReason>(reason));
      return false;
    }
  }
  constexpr std::uint32_t kType = 12;
  if (!from.rules.access_vlan) return true;
  const std::uint16_t type = load16(head_of(&frame), kType);
  constexpr std::uint16_t kTag = 0x8100;
  constexpr std::uint16_t kOuterTag = 0x88a8;
  if (type != kTag && type != kOuterTag) return true;
  from.port->drop(static_cast<DropReason>(VMLANE_GUARD_VLAN));
  return false;
}

bool Forwarder::answered(Member& from, FramePtr& frame) {
  if (!from.rules.answers || (frame->ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0 || frame->nb_segs != 1)
    return false;
  const auto head = head_of(frame.get());
  if (!may_be_question(head, parse_headers(head))) return false;
  std::array<std::uint8_t, answers::kAnswerCapacity> buffer;
  if (head.size() > buffer.size()) return false;
  complete_checksum(*frame);
  std::ranges::copy(head, buffer.begin());
  const answers::Answer answer = answers::answer(buffer, head.size(), *from.rules.answers);
  if (answer.verdict == answers::Verdict::kNotOurs) return false;
  if (trace_ != nullptr) [[unlikely]]
    note_plain("guest-answers", from, answer.verdict == answers::Verdict::kReply ? "replies" : "silent");
  if (answer.verdict == answers::Verdict::kDrop) {
    from.port->drop(DropReason::kAnswered);
    return true;
  }
  FramePtr reply(rte_pktmbuf_alloc(pool_));
  if (!reply || !append(*reply, std::span(buffer).first(answer.length), *pool_)) {
    from.port->drop(DropReason::kNoBuffer);
    return true;
  }
  queue(from, std::move(reply));
  return true;
}

// False when the frame cannot have come from there.
bool Forwarder::learn(Member& from, const rte_mbuf& frame, std::uint64_t now) {
  if (!from.learns) return true;
  const MacAddress source = mac_at(frame, RTE_ETHER_ADDR_LEN);
  if (is_group(source)) {
    from.port->drop(DropReason::kMalformed);
    return false;
  }
  const bool learned = from.network->macs.learn(source, from.port->id, now);
  if (trace_ != nullptr) [[unlikely]]
    note_place("learning", from, source, learned ? from.port : nullptr);
  if (learned) return true;
  from.port->drop(DropReason::kLocalSource);
  return false;
}

void Forwarder::forward(Member& from, FramePtr frame, std::uint64_t now) {
  const MacAddress destination = mac_at(*frame, 0);
  if (is_group(destination)) {
    if (is_link_local_group(destination))
      return from.port->drop(static_cast<DropReason>(VMLANE_GUARD_CONTROL));
    return flood(from, std::move(frame), true, now);
  }
  const auto to = from.network->macs.find(destination, now);
  if (trace_ != nullptr) [[unlikely]]
    note_place("forwarding", from, destination, to ? members_[*to]->port : nullptr);
  if (!to) return flood(from, std::move(frame), false, now);
  if (*to == from.port->id) return from.port->drop(DropReason::kReflected);
  deliver(from, *members_[*to], std::move(frame), now);
}

void Forwarder::flood(Member& from, FramePtr frame, bool group, std::uint64_t now) {
  // An uplink's floods are those of a whole network, and its bridge's business.
  if (!from.rules.uplink && !from.floods.allows(now)) return from.port->drop(DropReason::kFloodLimit);
  if (trace_ != nullptr) [[unlikely]]
    note_plain("flooding", from, group ? "to all ports" : "to uplinks and ports that take everything");
  Member* last = nullptr;
  for (const PortId id : from.network->members) {
    Member& to = *members_[id];
    if (&to == &from || !to.port->linked() || (!group && !to.takes_everything)) continue;
    if (from.rules.isolated && to.rules.isolated) continue;
    if (last != nullptr) {
      FramePtr copy(rte_pktmbuf_copy(frame.get(), pool_, 0, UINT32_MAX));
      if (!copy) return from.port->drop(DropReason::kNoBuffer);
      deliver(from, *last, std::move(copy), now);
    }
    last = &to;
  }
  if (last == nullptr) return from.port->drop(DropReason::kNobody);
  deliver(from, *last, std::move(frame), now);
}

bool Forwarder::permits(Member& member, rte_mbuf& frame, std::uint8_t direction, bool from_node,
                        std::uint64_t now) {
  if (member.subject == nullptr) return true;
  if (trace_ != nullptr) [[unlikely]]
    return permits_traced(member, frame, direction, from_node, now);
  const auto refused = policy_.refuses(head_of(&frame), *member.subject, direction, from_node, now);
  if (refused) member.port->drop(*refused);
  return !refused;
}

bool Forwarder::within(Member& member, std::optional<RateLimit>& limit, const rte_mbuf& frame) {
  if (!limit) return true;
  const bool allowed = limit->allows(frame);
  if (trace_ != nullptr) [[unlikely]]
    note_plain("meter", member, allowed ? "passes" : "rate");
  if (!allowed) member.port->drop(DropReason::kRate);
  return allowed;
}

void Forwarder::deliver(Member& from, Member& to, FramePtr frame, std::uint64_t now) {
  if (from.rules.isolated && to.rules.isolated) return from.port->drop(DropReason::kIsolated);
  if (to.quarantined) return to.port->drop(DropReason::kQuarantined);
  const bool from_node =
      from.rules.uplink && to.rules.node_mac && mac_at(*frame, RTE_ETHER_ADDR_LEN) == *to.rules.node_mac;
  if (!permits(to, *frame, VMLANE_POLICY_INGRESS, from_node, now)) return;
  if (to.port->mtu != 0 && packet_size(*frame) > to.port->mtu) return to.port->drop(DropReason::kTooBig);
  if (!within(to, to.rules.ingress, *frame)) return;
  adapt(to, std::move(frame));
}

void Forwarder::adapt(Member& to, FramePtr frame) {
  const Offloads offloads = to.port->offloads();
  const auto finish = [&](FramePtr piece) {
    if (!offloads.checksum && (piece->ol_flags & RTE_MBUF_F_TX_L4_MASK) != 0) {
      if (trace_ != nullptr) [[unlikely]]
        note_plain("checksum", to, "filled in");
      complete_checksum(*piece);
      to.port->counters.checksummed++;
    }
    queue(to, std::move(piece));
  };
  if (!needs_segmentation(*frame, offloads)) return finish(std::move(frame));
  if (trace_ != nullptr) [[unlikely]]
    note_plain("segmentation", to, "cut into segments");
  to.port->counters.segmented++;
  if (!segment(*frame, *pool_, finish)) to.port->drop(DropReason::kNoBuffer);
}

void Forwarder::queue(Member& to, FramePtr frame) {
  if (to.capture || trace_ != nullptr) [[unlikely]]
    queue_watched(to, *frame);
  if (to.out.empty()) dirty_.push_back(&to);
  to.out.push_back(frame.release());
  if (to.out.size() < kBurst) return;
  flush(to);
  std::erase(dirty_, &to);
}

void Forwarder::flush(Member& to) {
  if (to.out.empty()) return;
  if (trace_ != nullptr && trace_->rehearsed) [[unlikely]] {
    rte_pktmbuf_free_bulk(to.out.data(), static_cast<unsigned>(to.out.size()));
  } else {
    to.port->send(to.out);
  }
  to.out.clear();
}

}  // namespace vmlane::dataplane
