// SPDX-License-Identifier: Apache-2.0
#include "ebpf/libbpf_error.h"

#include <bpf/libbpf.h>

#include <array>
#include <cstdarg>
#include <cstdio>
#include <utility>

namespace vmlane::ebpf {
namespace {

thread_local std::string last_warning;

int keep_warning(libbpf_print_level level, const char* format, va_list arguments) {
  if (level != LIBBPF_WARN) return 0;
  std::array<char, 1024> text{};
  const int length = std::vsnprintf(text.data(), text.size(), format, arguments);
  last_warning = text.data();
  while (last_warning.ends_with('\n')) last_warning.pop_back();
  return length;
}

}  // namespace

void silence_libbpf() {
  [[maybe_unused]] static const libbpf_print_fn_t previous = libbpf_set_print(keep_warning);
  last_warning.clear();
}

Error libbpf_error(const std::string& message, int err) {
  Error error = kernel_error(message, err);
  error.details = std::exchange(last_warning, {});
  return error;
}

}  // namespace vmlane::ebpf
