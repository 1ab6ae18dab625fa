// SPDX-License-Identifier: Apache-2.0
// The node configuration, a file.
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "core/node_config.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmlane;
  const auto file =
      std::filesystem::temp_directory_path() / ("vmlane-fuzz-node-" + std::to_string(getpid()) + ".json");
  std::ofstream(file) << fuzz::text_of(data, size);
  Invocation invocation;
  invocation.env["VMLANE_CONFIG"] = file;
  const auto config = load_node_config(invocation);
  std::filesystem::remove(file);
  if (!config) {
    fuzz::require_told(config.error());
    return 0;
  }
  for (const auto& path : {config->state_dir, config->run_dir, config->bpf_dir, config->boot_id_file})
    fuzz::require(path.is_absolute(), "a directory is an absolute path", path.native());
  return 0;
}
