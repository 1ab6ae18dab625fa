// SPDX-License-Identifier: Apache-2.0
// Frames from a guest (guest_frame.h) for the native build of the guest answers: DHCPv4, DHCPv6, ND, ARP.
#include <algorithm>
#include <cstring>

#include "answers/native.h"
#include "tests/fuzz/guest_frame.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmlane;
  static const fuzz::FrameSource source;
  const test::Frame question = source.frame(data, size);
  // On the heap and no byte too long: a read or write past the end is seen.
  const std::size_t capacity =
      question.size() + (size > 0 && data[size - 1] % 2 == 0 ? answers::kAnswerCapacity : 0);
  test::Frame frame(capacity);
  std::ranges::copy(question, frame.begin());
  vmlane_answers answers = source.answers();
  const auto answer = answers::answer(frame, question.size(), answers);
  frame.resize(answer.length);
  if (answer.verdict == answers::Verdict::kNotOurs)
    fuzz::require(frame == question, "a frame that is not ours is left as it is");
  if (answer.verdict == answers::Verdict::kReply) {
    const test::Reply reply = test::read_reply(frame);
    fuzz::require(reply.lengths_right && reply.sums_right, "a reply's lengths and sums are right");
    fuzz::require(reply.source_mac == test::kVirtualGateway, "a reply comes from the gateway");
  }
  return 0;
}
