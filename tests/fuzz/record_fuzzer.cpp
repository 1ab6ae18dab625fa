// SPDX-License-Identifier: Apache-2.0
// An attachment record, which daemons and vmlanectl read and a DEL goes by, and what cloud-init is told of
// it.
#include "cloud-init/seed.h"
#include "core/record.h"
#include "manifests/yaml.h"
#include "tests/fuzz/fuzz.h"

namespace vmlane::fuzz {
namespace {

// Whatever a record holds, cloud-init gets YAML.
void tell_cloud_init(const AttachmentRecord& record) {
  const auto data = cloud_init::make_seed({record}, {});
  if (!data) return require_told(data.error());
  for (const auto& [name, text] : data->files()) {
    const auto parsed = parse_yaml(*text, name);
    require(parsed.has_value(), "a seed's file is YAML", parsed ? "" : parsed.error().text());
  }
}

}  // namespace
}  // namespace vmlane::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmlane;
  const auto json = parse_json(fuzz::text_of(data, size), "record");
  if (!json) return 0;
  const auto record = AttachmentRecord::from_json(*json);
  if (!record) {
    fuzz::require_told(record.error());
    return 0;
  }
  const Json written = record->to_json();
  const auto again = AttachmentRecord::from_json(written);
  fuzz::require(again.has_value(), "a record that was written can be read", to_text(written));
  fuzz::require(again->to_json() == written, "and says the same", to_text(written));
  fuzz::tell_cloud_init(*record);
  return 0;
}
