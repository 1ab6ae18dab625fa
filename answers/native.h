// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "ebpf/guest_answers.h"

// Guest answers for programs that hold frames in memory (the switch): the same rules as in the kernel.
namespace vmlane::answers {

enum class Verdict {
  kNotOurs = 0,  // the frame is untouched
  kReply = 1,    // it is the reply now: send it back to the guest
  kDrop = 2,     // a question that gets no reply
};

struct Answer {
  Verdict verdict = Verdict::kNotOurs;
  std::size_t length = 0;  // of the frame from now on
};

// A buffer that is too short for any reply is no danger: the verdict is then kDrop. This much is always
// enough.
inline constexpr std::size_t kAnswerCapacity = std::size_t{VMLANE_TEMPLATE_BYTES} + 272;

// `buffer` holds a frame of `length` bytes from the guest, untagged, one packet, checksum and all; it is as
// long as a reply may get. Reads and writes nothing outside of it. Several threads may use one `answers`.
Answer answer(std::span<std::uint8_t> buffer, std::size_t length, vmlane_answers& answers);

// Writes a router advertisement to all nodes into `buffer`, for the caller's timer; kNotOurs when this guest
// gets none.
Answer advertise_router(std::span<std::uint8_t> buffer, vmlane_answers& answers);

}  // namespace vmlane::answers
