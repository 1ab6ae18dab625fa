// SPDX-License-Identifier: Apache-2.0
#include "dataplane/offload.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

namespace vmlane::dataplane {
namespace {

constexpr std::uint64_t kFamilyFlags = RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IPV6;
constexpr std::uint8_t kTcp = 6;
constexpr std::uint16_t kMaxL3 = 511;  // what an mbuf can say
constexpr std::uint8_t kTcpFin = 0x01;
constexpr std::uint8_t kTcpPush = 0x08;
constexpr std::uint8_t kTcpCwr = 0x80;

std::uint32_t headers_length(const rte_mbuf& frame) {
  return static_cast<std::uint32_t>(frame.l2_len + frame.l3_len + frame.l4_len);
}

bool is_tcp(const rte_mbuf& frame) {
  return (frame.ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0 ||
         (frame.ol_flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_TCP_CKSUM;
}

std::uint16_t checksum_field(const rte_mbuf& frame) {
  return is_tcp(frame) ? offsetof(rte_tcp_hdr, cksum) : offsetof(rte_udp_hdr, dgram_cksum);
}

// Room for up to `length` bytes at the end of a frame, in a new buffer if the last one is full. Empty when
// there is no memory.
std::span<std::uint8_t> extend(rte_mbuf& frame, std::uint32_t length, rte_mempool& pool) {
  rte_mbuf* last = rte_pktmbuf_lastseg(&frame);
  if (rte_pktmbuf_tailroom(last) == 0) {
    rte_mbuf* more = rte_pktmbuf_alloc(&pool);
    if (more == nullptr) return {};
    last->next = more;
    last = more;
    frame.nb_segs++;
  }
  const std::uint32_t part = std::min<std::uint32_t>(length, rte_pktmbuf_tailroom(last));
  auto* place = rte_pktmbuf_mtod_offset(last, std::uint8_t*, last->data_len);
  last->data_len = static_cast<std::uint16_t>(last->data_len + part);
  frame.pkt_len += part;
  return {place, part};
}

// Copies `length` bytes at `at` of a frame to the end of another.
bool append_copy(rte_mbuf& to, const rte_mbuf& from, std::uint32_t at, std::uint32_t length,
                 rte_mempool& pool) {
  while (length > 0) {
    const auto place = extend(to, length, pool);
    if (place.empty()) return false;
    const auto part = static_cast<std::uint32_t>(place.size());
    const void* bytes = rte_pktmbuf_read(&from, at, part, place.data());
    if (bytes == nullptr) return false;
    if (bytes != place.data()) std::memcpy(place.data(), bytes, part);
    at += part;
    length -= part;
  }
  return true;
}

// The headers of segment `index` of a frame: a copy of the frame's, but for lengths, numbers and flags.
void fix_headers(rte_mbuf& piece, unsigned index, std::uint32_t offset, bool last) {
  const std::uint32_t payload = piece.pkt_len - headers_length(piece);
  const auto ip_payload = static_cast<std::uint16_t>(piece.l4_len + payload);
  auto* tcp = rte_pktmbuf_mtod_offset(&piece, rte_tcp_hdr*, piece.l2_len + piece.l3_len);
  tcp->sent_seq = rte_cpu_to_be_32(rte_be_to_cpu_32(tcp->sent_seq) + offset);
  std::uint8_t cleared = index == 0 ? 0 : kTcpCwr;
  if (!last) cleared |= kTcpFin | kTcpPush;
  tcp->tcp_flags = static_cast<std::uint8_t>(tcp->tcp_flags & ~cleared);
  if ((piece.ol_flags & RTE_MBUF_F_TX_IPV4) != 0) {
    auto* ip = rte_pktmbuf_mtod_offset(&piece, rte_ipv4_hdr*, piece.l2_len);
    ip->total_length = rte_cpu_to_be_16(static_cast<std::uint16_t>(piece.l3_len + ip_payload));
    ip->packet_id = rte_cpu_to_be_16(static_cast<std::uint16_t>(rte_be_to_cpu_16(ip->packet_id) + index));
    ip->hdr_checksum = 0;
    const std::uint16_t sum = rte_raw_cksum(ip, piece.l3_len);
    ip->hdr_checksum = static_cast<std::uint16_t>(~sum);
    tcp->cksum = rte_ipv4_phdr_cksum(ip, 0);
  } else {
    auto* ip = rte_pktmbuf_mtod_offset(&piece, rte_ipv6_hdr*, piece.l2_len);
    ip->payload_len =
        rte_cpu_to_be_16(static_cast<std::uint16_t>(piece.l3_len - sizeof(rte_ipv6_hdr) + ip_payload));
    // Of TCP alone, without the extension headers that payload_len and proto are about.
    rte_ipv6_hdr pseudo = *ip;
    pseudo.payload_len = rte_cpu_to_be_16(ip_payload);
    pseudo.proto = kTcp;
    tcp->cksum = rte_ipv6_phdr_cksum(&pseudo, 0);
  }
}

}  // namespace

bool set_offloads(rte_mbuf& frame, const FrameHeaders& headers, bool partial, std::uint16_t segment) {
  frame.ol_flags = 0;
  frame.tso_segsz = 0;
  frame.tx_offload = 0;
  if (headers.l3 > kMaxL3) return !partial && segment == 0;
  frame.l2_len = headers.l2;
  frame.l3_len = headers.l3;
  frame.l4_len = headers.l4;
  if (!partial && segment == 0) return true;
  if (headers.l4 == 0) return false;
  frame.ol_flags |= headers.family == 4 ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6;
  frame.ol_flags |= headers.protocol == kTcp ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM;
  if (segment == 0) return true;
  if (headers.protocol != kTcp) return false;
  // Nothing to cut: a guest says so of a short last piece.
  if (frame.pkt_len <= headers_length(frame) + segment) return true;
  frame.ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
  frame.tso_segsz = segment;
  return true;
}

VirtioHeader virtio_header(const rte_mbuf& frame) {
  VirtioHeader header;
  if ((frame.ol_flags & (RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG)) == 0) return header;
  header.flags = VirtioHeader::kNeedsChecksum;
  header.checksum_start = static_cast<std::uint16_t>(frame.l2_len + frame.l3_len);
  header.checksum_offset = checksum_field(frame);
  if ((frame.ol_flags & RTE_MBUF_F_TX_TCP_SEG) == 0) return header;
  header.gso_type =
      (frame.ol_flags & RTE_MBUF_F_TX_IPV4) != 0 ? VirtioHeader::kGsoTcp4 : VirtioHeader::kGsoTcp6;
  header.gso_size = frame.tso_segsz;
  header.header_length = static_cast<std::uint16_t>(headers_length(frame));
  return header;
}

std::uint32_t packet_size(const rte_mbuf& frame) {
  if ((frame.ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0)
    return static_cast<std::uint32_t>(frame.l3_len + frame.l4_len + frame.tso_segsz);
  return frame.pkt_len - std::min<std::uint32_t>(frame.l2_len, frame.pkt_len);
}

bool append(rte_mbuf& frame, std::span<const std::uint8_t> bytes, rte_mempool& pool) {
  while (!bytes.empty()) {
    const auto place = extend(frame, static_cast<std::uint32_t>(bytes.size()), pool);
    if (place.empty()) return false;
    std::memcpy(place.data(), bytes.data(), place.size());
    bytes = bytes.subspan(place.size());
  }
  return true;
}

void complete_checksum(rte_mbuf& frame) {
  if ((frame.ol_flags & RTE_MBUF_F_TX_L4_MASK) == 0) return;
  const auto start = static_cast<std::uint32_t>(frame.l2_len + frame.l3_len);
  auto* field = rte_pktmbuf_mtod_offset(&frame, std::uint16_t*, start + std::uint32_t{checksum_field(frame)});
  // The field has the sum of the pseudo header, so the sum over all is what is to be told.
  std::uint16_t sum = 0;
  if (rte_raw_cksum_mbuf(&frame, start, frame.pkt_len - start, &sum) == 0) {
    sum = static_cast<std::uint16_t>(~sum);
    *field = sum == 0 && !is_tcp(frame) ? 0xffff : sum;  // RFC 768
  }
  frame.ol_flags &= ~(RTE_MBUF_F_TX_L4_MASK | kFamilyFlags);
}

bool segment(rte_mbuf& frame, rte_mempool& pool, const std::function<void(FramePtr)>& take) {
  const std::uint32_t headers = headers_length(frame);
  const std::uint32_t payload = frame.pkt_len - headers;
  unsigned index = 0;
  for (std::uint32_t offset = 0; offset < payload; offset += frame.tso_segsz, index++) {
    const std::uint32_t length = std::min<std::uint32_t>(frame.tso_segsz, payload - offset);
    FramePtr piece(rte_pktmbuf_alloc(&pool));
    if (!piece) return false;
    piece->ol_flags = (frame.ol_flags & kFamilyFlags) | RTE_MBUF_F_TX_TCP_CKSUM;
    piece->l2_len = frame.l2_len;
    piece->l3_len = frame.l3_len;
    piece->l4_len = frame.l4_len;
    if (!append_copy(*piece, frame, 0, headers, pool) ||
        !append_copy(*piece, frame, headers + offset, length, pool))
      return false;
    fix_headers(*piece, index, offset, offset + length == payload);
    take(std::move(piece));
  }
  return true;
}

FramePtr with_header_apart(FramePtr frame, rte_mempool& pool) {
  FramePtr front(rte_pktmbuf_alloc(&pool));
  if (!front) return nullptr;
  rte_mbuf* rest = frame.release();
  const std::uint16_t length = rest->l2_len;
  std::memcpy(rte_pktmbuf_mtod(front.get(), void*), rte_pktmbuf_mtod(rest, void*), length);
  front->data_len = length;
  front->pkt_len = rest->pkt_len;
  front->ol_flags = rest->ol_flags;
  front->tx_offload = rest->tx_offload;
  front->nb_segs = static_cast<std::uint16_t>(rest->nb_segs + 1);
  rte_pktmbuf_adj(rest, length);
  front->next = rest;
  return front;
}

}  // namespace vmlane::dataplane
