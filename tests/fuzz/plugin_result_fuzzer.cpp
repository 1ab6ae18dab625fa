// SPDX-License-Identifier: Apache-2.0
// What an IPAM plugin or a delegate writes to its standard output.
#include "cni/result.h"
#include "core/exec.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmlane;
  const auto json = parse_plugin_result(fuzz::text_of(data, size), "host-local");
  if (!json) {
    fuzz::require_told(json.error());
    return 0;
  }
  const auto result = cni::CniResult::from_json(*json, cni::kNewestVersion, "result");
  if (!result) {
    fuzz::require_told(result.error());
    return 0;
  }
  for (const std::string_view text : cni::kSupportedVersions) {
    const cni::Version version = *cni::Version::parse(text);
    const Json written = result->to_json(version);
    const auto again = cni::CniResult::from_json(written, version, "result");
    fuzz::require(again.has_value(), "a result that was written can be read", to_text(written));
    fuzz::require(again->to_json(version) == written, "and says the same", to_text(written));
  }
  return 0;
}
