// SPDX-License-Identifier: Apache-2.0
#include "cni/version.h"

#include <algorithm>
#include <charconv>

namespace vmlane::cni {

std::string Version::to_string() const {
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
}

Result<Version> Version::parse(std::string_view text) {
  if (text.empty()) return Version{0, 1, 0};
  Version version;
  const char* at = text.data();
  const char* const end = text.data() + text.size();
  for (unsigned* part : {&version.major, &version.minor, &version.patch}) {
    const auto [next, error] = std::from_chars(at, end, *part);
    const bool last = part == &version.patch;
    if (error != std::errc() || (last ? next != end : next == end || *next != '.')) {
      return fail(Code::kIncompatibleVersion,
                  "cniVersion \"" + std::string(text.substr(0, 40)) + "\" is not a version");
    }
    at = next + 1;
  }
  return version;
}

bool is_supported(const Version& version) {
  return std::ranges::find(kSupportedVersions, version.to_string()) != kSupportedVersions.end();
}

}  // namespace vmlane::cni
