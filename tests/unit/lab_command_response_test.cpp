// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "lab/command_response.h"
#include "lab/guest_channel.h"

namespace vmlane::lab {
namespace {

const std::string kNonce = "0123456789abcdef0123456789abcdef";

class LabCommandResponse : public ::testing::Test {
 protected:
  std::string output_;
  std::string error_;
  CommandResponse response_{kNonce, [this](std::string_view bytes) { output_ += bytes; },
                            [this](std::string_view bytes) { error_ += bytes; }};
};

const std::string kAnswer = "rest of an older answer\nffff:exit 0\n" + kNonce + ":begin\nout" + kNonce +
                            "\nput" + kNonce + ":error\nerr\n" + kNonce + ":exit 7\n";

TEST_F(LabCommandResponse, SplitsTheStreamWhereverItIsCut) {
  for (std::size_t size = 1; size <= kAnswer.size(); size++) {
    output_.clear();
    error_.clear();
    CommandResponse response(
        kNonce, [this](std::string_view bytes) { output_ += bytes; },
        [this](std::string_view bytes) { error_ += bytes; });
    bool done = false;
    for (std::size_t at = 0; at < kAnswer.size(); at += size) {
      ASSERT_FALSE(done) << "ended early with pieces of " << size;
      done = response.feed(std::string_view(kAnswer).substr(at, size));
    }
    EXPECT_TRUE(done);
    EXPECT_EQ(output_, "out" + kNonce + "\nput");
    EXPECT_EQ(error_, "err\n");
    EXPECT_EQ(response.status(), "7");
  }
}

TEST_F(LabCommandResponse, PassesOnWhatCannotBeAMarkAtOnce) {
  response_.feed(kNonce + ":begin\n64 bytes from 192.0.2.1\n");
  EXPECT_TRUE(response_.begun());
  EXPECT_EQ(output_, "64 bytes from 192.0.2.1\n");
  response_.feed(kNonce.substr(0, 10));
  EXPECT_EQ(output_, "64 bytes from 192.0.2.1\n");
  response_.feed("xyz");
  EXPECT_EQ(output_, "64 bytes from 192.0.2.1\n" + kNonce.substr(0, 10) + "xyz");
}

TEST_F(LabCommandResponse, KeepsEveryByteValue) {
  std::string bytes;
  for (int i = 0; i < 256; i++) bytes += static_cast<char>(i);
  EXPECT_TRUE(response_.feed(kNonce + ":begin\n" + bytes + kNonce + ":error\n" + bytes + kNonce +
                             ":exit limit\nlater"));
  EXPECT_EQ(output_, bytes);
  EXPECT_EQ(error_, bytes);
  EXPECT_EQ(response_.status(), "limit");
  EXPECT_TRUE(response_.feed("even later"));
}

TEST_F(LabCommandResponse, AnotherCommandsAnswerIsNotItsOwn) {
  EXPECT_FALSE(response_.feed("ffffffffffffffffffffffffffffffff:begin\nx"));
  EXPECT_FALSE(response_.begun());
  EXPECT_EQ(output_, "");
}

TEST(LabShellQuote, ArgumentsSurviveAShell) {
  EXPECT_EQ(shell_quote({"echo", "it's", "$HOME;", ""}), "'echo' 'it'\\''s' '$HOME;' ''");
}

}  // namespace
}  // namespace vmlane::lab
