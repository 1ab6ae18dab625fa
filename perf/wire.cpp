// SPDX-License-Identifier: Apache-2.0
#include "perf/wire.h"

#include <cstring>

namespace vmlane::perf {
namespace {

std::uint8_t pattern(std::uint64_t sequence, std::size_t position) {
  return static_cast<std::uint8_t>(sequence + position * 7);
}

}  // namespace

bool StreamCounter::answer(std::span<std::uint8_t> payload) {
  if (payload.size() < kMinBytes) return false;
  Header header;
  std::memcpy(&header, payload.data(), sizeof header);
  if (header.kind == Kind::kEcho) return true;
  if (header.kind != Kind::kCount && header.kind != Kind::kQuery) return false;
  if (header.stream != stream_) {
    stream_ = header.stream;
    count_ = 0;
  }
  if (header.kind == Kind::kCount) {
    count_++;
    return false;
  }
  header.sequence = count_;
  std::memcpy(payload.data(), &header, sizeof header);
  return true;
}

void fill_datagram(std::span<std::uint8_t> payload, const Header& header) {
  std::memcpy(payload.data(), &header, sizeof header);
  for (std::size_t i = sizeof header; i < payload.size(); i++) payload[i] = pattern(header.sequence, i);
}

bool is_datagram(std::span<const std::uint8_t> payload, const Header& header) {
  if (payload.size() < kMinBytes || std::memcmp(payload.data(), &header, sizeof header) != 0) return false;
  for (std::size_t i = sizeof header; i < payload.size(); i++) {
    if (payload[i] != pattern(header.sequence, i)) return false;
  }
  return true;
}

}  // namespace vmlane::perf
