// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <random>

#include "core/base64.h"

namespace vmlane {
namespace {

TEST(Base64, DecodesWhatTheStandardSays) {
  EXPECT_EQ(decode_base64(""), "");
  EXPECT_EQ(decode_base64("Zg=="), "f");
  EXPECT_EQ(decode_base64("Zm8="), "fo");
  EXPECT_EQ(decode_base64("Zm9v\nYmFy\n"), "foobar");
  for (const char* wrong : {"Z", "Zg=", "Zg=a", "Z===", "Zm9v!A=="})
    EXPECT_EQ(decode_base64(wrong), std::nullopt) << wrong;
}

TEST(Base64, WhatIsEncodedIsDecodedToTheSame) {
  EXPECT_EQ(encode_base64(""), "");
  EXPECT_EQ(encode_base64("f"), "Zg==");
  EXPECT_EQ(encode_base64("fo"), "Zm8=");
  EXPECT_EQ(encode_base64("foo"), "Zm9v");
  std::mt19937 random(1);
  for (std::size_t size = 0; size < 200; size++) {
    std::string data(size, '\0');
    for (char& byte : data) byte = static_cast<char>(random());
    EXPECT_EQ(decode_base64(encode_base64(data)), data) << size;
  }
}

}  // namespace
}  // namespace vmlane
