// SPDX-License-Identifier: Apache-2.0
#include "core/error.h"

#include <cstring>

namespace vmlane {

std::string Error::text() const {
  std::string out = message;
  if (!details.empty()) out += " (" + details + ")";
  if (cause) out += ": " + cause->text();
  return out;
}

Error Error::wrap(std::string outer_message) const {
  return Error{code, std::move(outer_message), {}, std::make_shared<const Error>(*this)};
}

Result<> joined(const std::vector<Error>& errors, const std::string& what) {
  if (errors.empty()) return {};
  if (errors.size() == 1) return fail(errors.front());
  std::string texts;
  for (const Error& error : errors) texts += (texts.empty() ? "" : "; ") + error.text();
  return fail(errors.front().code,
              what + " failed in " + std::to_string(errors.size()) + " places: " + texts);
}

namespace {
Error system_error(Code code, std::string_view message, int err) {
  return Error{code, std::string(message) + ": " + std::strerror(err), {}, nullptr};
}
}  // namespace

Error io_error(std::string_view message, int err) {
  return system_error(Code::kIo, message, err);
}
Error kernel_error(std::string_view message, int err) {
  return system_error(Code::kKernel, message, err);
}

}  // namespace vmlane
