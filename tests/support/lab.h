// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "core/json.h"
#include "tests/support/host.h"
#include "tests/support/process.h"

namespace vmlane::test {

// Runs the built vmlanectl against a lab in the test's own directory; a lab that a failed test leaves is
// taken down.
class LabFixture : public HostFixture {
 protected:
  void TearDown() override;

  std::filesystem::path lab_dir() const { return directory() / "lab"; }
  // The command line of `vmlanectl lab COMMAND --dir <lab> REST...`.
  std::vector<std::string> lab_command(const std::string& command,
                                       const std::vector<std::string>& rest = {}) const;
  RunResult lab(const std::string& command, const std::vector<std::string>& rest = {}) const;
  // `lab exec NAME -- COMMAND...`.
  RunResult exec(const std::string& name, const std::vector<std::string>& command) const;
  // `lab ls -o json`.
  Json rows() const;
  // Pids of the lab's processes, as its state has them.
  std::vector<pid_t> processes() const;
  // Nothing of the lab is left: directory, mounts, or one of these processes.
  void expect_nothing_left(const std::vector<pid_t>& processes) const;
};

}  // namespace vmlane::test
