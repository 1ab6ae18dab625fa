// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "core/error.h"

// What all fuzzers share. A fuzzer defines LLVMFuzzerTestOneInput, reads the bytes as the program does, and
// says what must hold of any input with require(); sanitizers see the rest.
namespace vmlane::fuzz {

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Ends the run as a crash when `holds` is false; libFuzzer then keeps the input.
inline void require(bool holds, std::string_view what, std::string_view more = {}) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %.*s\n%.*s\n", static_cast<int>(what.size()), what.data(),
               static_cast<int>(more.size()), more.data());
  std::abort();
}

// An error that reaches a user names what is at fault.
inline void require_told(const Error& error) {
  require(!error.message.empty(), "an error has a message");
}

}  // namespace vmlane::fuzz

// As libFuzzer calls it.
// NOLINTNEXTLINE(readability-identifier-naming)
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
