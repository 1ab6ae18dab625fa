// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "core/error.h"

// Checks on Result, which say what the error was.
namespace vmlane::test {

// The value; throws, and so fails the test, when there is none.
template <class T>
T value_of(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().text());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

template <class T>
::testing::AssertionResult succeeded(const Result<T>& result) {
  if (result) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << result.error().text();
}

// Failed with this code and a message that has `part` in it.
template <class T>
::testing::AssertionResult refused(const Result<T>& result, Code code, std::string_view part) {
  if (result) return ::testing::AssertionFailure() << "succeeded";
  const Error& error = result.error();
  if (error.code == code && error.message.find(part) != std::string::npos)
    return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << "code " << static_cast<unsigned>(error.code) << ": " << error.text();
}

}  // namespace vmlane::test

#define EXPECT_OK(result) EXPECT_TRUE(::vmlane::test::succeeded(result))
#define ASSERT_OK(result) ASSERT_TRUE(::vmlane::test::succeeded(result))
#define EXPECT_REFUSED(result, code, part) EXPECT_TRUE(::vmlane::test::refused(result, code, part))
