// SPDX-License-Identifier: Apache-2.0
#include "tests/support/policy_frames.h"

#include <utility>

namespace vmlane::test {
namespace {

constexpr std::uint8_t kFragmentHeader = 44;

bool is_icmp(const PacketSpec& spec) {
  return spec.protocol == (spec.source.v6 ? 58 : 1);
}

void put16(Frame& frame, unsigned value) {
  frame.push_back(static_cast<std::uint8_t>(value >> 8));
  frame.push_back(static_cast<std::uint8_t>(value));
}

void put32(Frame& frame, std::uint32_t value) {
  put16(frame, value >> 16);
  put16(frame, value & 0xffff);
}

void put(Frame& frame, const Frame& bytes) {
  frame.insert(frame.end(), bytes.begin(), bytes.end());
}

void put(Frame& frame, const IpAddress& address) {
  frame.insert(frame.end(), address.bytes.begin(), address.bytes.begin() + (address.v6 ? 16 : 4));
}

void put_icmp(Frame& frame, const PacketSpec& spec) {
  const std::uint8_t echo = spec.source.v6 ? 128 : 8;
  frame.push_back(spec.icmp_type == 0 ? echo : spec.icmp_type);
  frame.push_back(0);
  put16(frame, 0);
  put16(frame, spec.source_port);
  put16(frame, 1);
  put(frame, spec.quoted);
}

Frame upper_of(const PacketSpec& spec) {
  Frame upper;
  if (spec.fragment_place == 0 && is_icmp(spec)) {
    put_icmp(upper, spec);
  } else if (spec.fragment_place == 0 &&
             (spec.protocol == kTcp || spec.protocol == kUdp || spec.protocol == kSctp)) {
    put16(upper, spec.source_port);
    put16(upper, spec.destination_port);
    if (spec.protocol == kTcp) {
      upper.resize(12);
      upper.push_back(0x50);
      upper.push_back(spec.tcp_flags);
      upper.resize(20);
    } else {
      upper.resize(spec.protocol == kUdp ? 8 : 12);
    }
  }
  upper.resize(upper.size() + spec.payload);
  return upper;
}

Frame ipv4_of(const PacketSpec& spec, const Frame& upper) {
  Frame ip;
  ip.push_back(static_cast<std::uint8_t>(0x45 + spec.ip_options));
  ip.push_back(0);
  put16(ip, static_cast<unsigned>(20 + spec.ip_options * 4) + static_cast<unsigned>(upper.size()));
  put16(ip, spec.fragment_id & 0xffff);
  put16(ip, spec.fragmented ? (spec.more_fragments ? 0x2000U : 0U) | spec.fragment_place : 0U);
  ip.push_back(64);
  ip.push_back(spec.protocol);
  put16(ip, 0);
  put(ip, spec.source);
  put(ip, spec.destination);
  ip.resize(ip.size() + static_cast<std::size_t>(spec.ip_options) * 4, 1);
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < ip.size(); i += 2) sum += static_cast<std::uint32_t>(ip[i] << 8 | ip[i + 1]);
  sum = ~((sum & 0xffff) + (sum >> 16));
  ip[10] = static_cast<std::uint8_t>(sum >> 8);
  ip[11] = static_cast<std::uint8_t>(sum);
  put(ip, upper);
  return ip;
}

Frame ipv6_of(const PacketSpec& spec, const Frame& upper) {
  std::vector<std::uint8_t> headers = spec.extensions;
  if (spec.fragmented) headers.push_back(kFragmentHeader);
  headers.push_back(spec.protocol);
  Frame ip{0x60, 0, 0, 0};
  put16(ip, static_cast<unsigned>((headers.size() - 1) * 8 + upper.size()));
  ip.push_back(headers.front());
  ip.push_back(255);
  put(ip, spec.source);
  put(ip, spec.destination);
  for (std::size_t i = 0; i + 1 < headers.size(); i++) {
    ip.push_back(headers[i + 1]);
    ip.push_back(0);
    if (headers[i] == kFragmentHeader) {
      put16(ip, static_cast<unsigned>(spec.fragment_place << 3) | (spec.more_fragments ? 1U : 0U));
      put32(ip, spec.fragment_id);
    } else {
      // Padding of 4 bytes; of a routing header a type that is not 0.
      put(ip, Frame{4, 2, 0, 0, 0, 0});
    }
  }
  put(ip, upper);
  return ip;
}

Frame ip_of(const PacketSpec& spec) {
  const Frame upper = upper_of(spec);
  return spec.source.v6 ? ipv6_of(spec, upper) : ipv4_of(spec, upper);
}

}  // namespace

Frame make_packet(const PacketSpec& spec) {
  Frame frame{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1};
  for (int tag = 0; tag < spec.tags; tag++) {
    put16(frame, tag + 1 < spec.tags ? 0x88a8 : 0x8100);
    put16(frame, 7U + static_cast<unsigned>(tag));
  }
  put16(frame, spec.source.v6 ? 0x86dd : 0x0800);
  put(frame, ip_of(spec));
  return frame;
}

Frame quote_of(const PacketSpec& spec) {
  PacketSpec quoted = spec;
  quoted.payload = 8;
  Frame ip = ip_of(quoted);
  ip.resize((spec.source.v6 ? 40U + 8U * (spec.extensions.size() + (spec.fragmented ? 1U : 0U))
                            : 20U + 4U * static_cast<unsigned>(spec.ip_options)) +
            8U);
  return ip;
}

PacketSpec answer_to(const PacketSpec& spec, std::uint8_t tcp_flags) {
  PacketSpec answer = spec;
  std::swap(answer.source, answer.destination);
  if (!is_icmp(spec)) std::swap(answer.source_port, answer.destination_port);
  answer.tcp_flags = tcp_flags;
  if (is_icmp(spec)) answer.icmp_type = spec.source.v6 ? 129 : 0;
  return answer;
}

}  // namespace vmlane::test
