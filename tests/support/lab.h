// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
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
  // The address of a workload, by rows() or what `lab up` printed, without its prefix length; empty when
  // there is no such workload.
  static std::string address(const Json& rows, const std::string& name, std::size_t index);
  // A guest's DHCP client is told this address on eth0, where nobody serves DHCP but the guest's own port.
  void expect_dhcp_gives(const std::string& vm, const std::string& address) const;
  // `lab ls -o json`.
  Json rows() const;
  // Pids of the lab's processes, as its state has them.
  std::vector<pid_t> processes() const;
  // Nothing of the lab is left: directory, mounts, or one of these processes.
  void expect_nothing_left(const std::vector<pid_t>& processes) const;
};

}  // namespace vmlane::test
