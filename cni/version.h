// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <compare>
#include <string>
#include <string_view>

#include "core/error.h"

namespace vmlane::cni {

// A version of the CNI specification, "1.1.0".
struct Version {
  unsigned major = 0;
  unsigned minor = 0;
  unsigned patch = 0;

  std::string to_string() const;
  auto operator<=>(const Version&) const = default;
  // Code::kIncompatibleVersion when the text is no version. Empty counts as 0.1.0, as in the Go library.
  static Result<Version> parse(std::string_view text);
};

// What ADD understands and can answer in. 0.3.0 and 0.3.1 have the same shapes.
inline constexpr std::array<std::string_view, 5> kSupportedVersions = {"0.3.0", "0.3.1", "0.4.0", "1.0.0",
                                                                       "1.1.0"};
inline constexpr Version kNewestVersion{1, 1, 0};
inline constexpr Version kCheckSince{0, 4, 0};
inline constexpr Version kGcSince{1, 1, 0};
inline constexpr Version kOldestSupported{0, 3, 0};

bool is_supported(const Version& version);

}  // namespace vmlane::cni
