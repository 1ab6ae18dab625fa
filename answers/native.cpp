// SPDX-License-Identifier: Apache-2.0
#include "answers/native.h"

#include <algorithm>

extern "C" {
int vmlane_native_answer(__u8* data, __u32* length, __u32 capacity, struct vmlane_answers* answers);
int vmlane_native_advertise(__u8* data, __u32* length, __u32 capacity, struct vmlane_answers* answers);
}

namespace vmlane::answers {

Answer answer(std::span<std::uint8_t> buffer, std::size_t length, vmlane_answers& answers) {
  auto size = static_cast<std::uint32_t>(std::min(length, buffer.size()));
  const int verdict =
      vmlane_native_answer(buffer.data(), &size, static_cast<std::uint32_t>(buffer.size()), &answers);
  return {static_cast<Verdict>(verdict), size};
}

Answer advertise_router(std::span<std::uint8_t> buffer, vmlane_answers& answers) {
  std::uint32_t size = 0;
  const int verdict =
      vmlane_native_advertise(buffer.data(), &size, static_cast<std::uint32_t>(buffer.size()), &answers);
  return {static_cast<Verdict>(verdict), size};
}

}  // namespace vmlane::answers
