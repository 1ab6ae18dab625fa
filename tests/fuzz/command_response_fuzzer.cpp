// SPDX-License-Identifier: Apache-2.0
// Bytes from a lab guest's command port. However they are cut into pieces, they say the same.
#include "lab/command_response.h"
#include "tests/fuzz/fuzz.h"

namespace vmlane::fuzz {
namespace {

struct Heard {
  std::string output;
  std::string error;
  std::string status;
  bool ended = false;
  bool operator==(const Heard&) const = default;
};

Heard feed(std::string_view bytes, std::size_t piece) {
  Heard heard;
  lab::CommandResponse response(
      "nonce", [&](std::string_view more) { heard.output += more; },
      [&](std::string_view more) { heard.error += more; });
  for (std::size_t at = 0; at < bytes.size() && !heard.ended; at += piece)
    heard.ended = response.feed(bytes.substr(at, piece));
  // Before the end some bytes may be held back, since a mark may begin with them.
  if (heard.ended) heard.status = response.status();
  if (!heard.ended) heard = {};
  return heard;
}

}  // namespace
}  // namespace vmlane::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmlane;
  if (size < 2) return 0;
  const std::string_view bytes = fuzz::text_of(data + 1, size - 1);
  fuzz::require(fuzz::feed(bytes, bytes.size()) == fuzz::feed(bytes, data[0] % 16 + 1),
                "pieces say what the whole says");
  return 0;
}
