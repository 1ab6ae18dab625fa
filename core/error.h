// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vmlane {

// Codes of the CNI specification (1.1.0, "Error") and, from 100 on, our own. Every error that reaches a user
// carries one.
enum class Code : unsigned {
  kIncompatibleVersion = 1,
  kUnsupportedField = 2,
  kUnknownContainer = 3,
  kBadEnvironment = 4,
  kIo = 5,
  kDecode = 6,
  kInvalidConfig = 7,
  kInvalidNamespace = 8,
  kTryAgain = 11,
  kNotAvailable = 50,
  kLimitedConnectivity = 51,
  kInternal = 100,  // a fault of ours, or of a library
  kKernel = 101,    // the kernel refused; details hold its reason
  kConflict = 102,  // something of that name, address or MAC is there already and is somebody else's
  kNotFound = 103,  // an object that the request names does not exist
  kChanged = 104,   // CHECK: what ADD made is gone or was altered
  kDelegate = 105,  // a delegated plugin failed without an error object of its own
};

// The one error type. `message` is one line that names the key, object or limit at fault; `details` says what
// to do or what the kernel said; `cause` is the error below this one.
struct Error {
  Code code = Code::kInternal;
  std::string message;
  std::string details;
  std::shared_ptr<const Error> cause;

  // Message, details and causes in one line, for logs and terminals.
  std::string text() const;

  // This error as the cause of one that says what was being done.
  [[nodiscard]] Error wrap(std::string outer_message) const;
};

template <class T = void>
using Result = std::expected<T, Error>;

// Several errors as one: the code of the first, the texts of all; a single one stays as it is. Success when
// there is none.
Result<> joined(const std::vector<Error>& errors, const std::string& what);

// "<message>: <strerror(err)>" with Code::kIo.
Error io_error(std::string_view message, int err);
// The same with Code::kKernel, for requests about links, addresses, programs ...
Error kernel_error(std::string_view message, int err);

inline std::unexpected<Error> fail(Error error) {
  return std::unexpected<Error>(std::move(error));
}
inline std::unexpected<Error> fail(Code code, std::string message, std::string details = {}) {
  return std::unexpected<Error>(Error{code, std::move(message), std::move(details), nullptr});
}

}  // namespace vmlane

#define VMLANE_CONCAT_INNER(a, b) a##b
#define VMLANE_CONCAT(a, b) VMLANE_CONCAT_INNER(a, b)

// Returns the error of `expr` from the calling function, if there is one. g++ 12's std::expected has no
// monadic calls.
#define VMLANE_TRY(expr)                                                                  \
  do {                                                                                    \
    auto vmlane_try_result = (expr);                                                      \
    if (!vmlane_try_result) return std::unexpected(std::move(vmlane_try_result.error())); \
  } while (0)

// VMLANE_ASSIGN(auto x, expr): x is the value of `expr`, or the calling function returns its error.
#define VMLANE_ASSIGN(declaration, expr) \
  VMLANE_ASSIGN_INNER(VMLANE_CONCAT(vmlane_result_, __LINE__), declaration, expr)
#define VMLANE_ASSIGN_INNER(temporary, declaration, expr)               \
  auto temporary = (expr);                                              \
  if (!temporary) return std::unexpected(std::move(temporary.error())); \
  declaration = std::move(*temporary)
