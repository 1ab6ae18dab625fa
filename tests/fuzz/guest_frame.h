// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

#include "answers/build.h"
#include "answers/native.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/answer_examples.h"

namespace vmlane::fuzz {

// The guest of the tests' examples, what it asks and what it is answered.
class FrameSource {
 public:
  FrameSource() : answers_(test::value_of(answers::build_answers(test::example_plan()))) {
    for (auto& [name, question] : test::example_questions(*answers_)) {
      test::Frame reply = question;
      reply.resize(question.size() + answers::kAnswerCapacity);
      const auto answer = answers::answer(reply, question.size(), *answers_);
      reply.resize(answer.length);
      if (answer.verdict == answers::Verdict::kReply) examples_.push_back(std::move(reply));
      examples_.push_back(std::move(question));
    }
  }
  const vmlane_answers& answers() const { return *answers_; }

  // The frame that an input stands for: its first byte chooses an example or an empty frame, the second cuts
  // off its end; then come triples of an offset in two bytes and the byte that stands there instead, behind
  // the end too.
  test::Frame frame(const std::uint8_t* data, std::size_t size) const {
    constexpr std::size_t kMaxFrame = 2048;
    if (size < 2) return {};
    const std::size_t example = data[0] % (examples_.size() + 1);
    test::Frame frame = example < examples_.size() ? examples_[example] : test::Frame();
    frame.resize(frame.size() - std::min<std::size_t>(data[1], frame.size()));
    for (std::size_t i = 2; i + 2 < size; i += 3) {
      const std::size_t at = (data[i] << 8 | data[i + 1]) % kMaxFrame;
      if (at >= frame.size()) frame.resize(at + 1);
      frame[at] = data[i + 2];
    }
    return frame;
  }

 private:
  std::unique_ptr<vmlane_answers> answers_;
  std::vector<test::Frame> examples_;
};

}  // namespace vmlane::fuzz
