// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

// What the client of a measurement and the responder at its other end say to each other. The responder is the
// same program in a container and in a guest; a native guest, which has no TCP, answers the UDP part.
//
//   UDP kUdpPort       datagrams that begin with a Header: echoed, counted, or answered with the count
//   TCP kEchoPort      every byte comes back
//   TCP kSinkPort      bytes are counted; at the end of the stream eight bytes with the count come back
namespace vmlane::perf {

inline constexpr std::uint16_t kUdpPort = 7000;
inline constexpr std::uint16_t kEchoPort = 7001;
inline constexpr std::uint16_t kSinkPort = 7002;

enum class Kind : std::uint32_t {
  kEcho = 0x65636830,   // comes back as it is
  kCount = 0x636e7430,  // one of a stream: counted
  kQuery = 0x71727930,  // comes back with the number of the stream's datagrams in `sequence`
};

// At the front of each datagram, in the byte order of the machine: both ends run on it. What follows is a
// pattern made of the sequence number, so that a wrong or cut answer is not taken for a fast one.
struct Header {
  Kind kind = Kind::kEcho;
  std::uint32_t stream = 0;  // a number not used before; a new one sets the count to nothing
  std::uint64_t sequence = 0;
};
static_assert(sizeof(Header) == 16);

inline constexpr std::uint32_t kMinBytes = sizeof(Header);
inline constexpr std::uint32_t kMaxBytes = 8972;  // what an MTU of 9000 carries

// The counting side of the protocol.
class StreamCounter {
 public:
  // Whether the datagram is to be sent back; a query is changed into its answer. Anything too short for a
  // header is nobody's.
  bool answer(std::span<std::uint8_t> payload);

 private:
  std::uint32_t stream_ = 0;
  std::uint64_t count_ = 0;
};

// Fills a datagram, header and pattern. `payload` has at least kMinBytes.
void fill_datagram(std::span<std::uint8_t> payload, const Header& header);
// Whether it is exactly what fill_datagram made of `header`.
bool is_datagram(std::span<const std::uint8_t> payload, const Header& header);

}  // namespace vmlane::perf
