// SPDX-License-Identifier: Apache-2.0
#include "tests/support/lab.h"

#include <filesystem>

#include "tests/support/paths.h"

namespace vmlane::test {

void LabFixture::TearDown() {
  if (!IsSkipped() && std::filesystem::exists(lab_dir())) {
    const auto down = lab("down");
    EXPECT_TRUE(down.ok()) << down.err;
  }
  HostFixture::TearDown();
}

std::vector<std::string> LabFixture::lab_command(const std::string& command,
                                                 const std::vector<std::string>& rest) const {
  std::vector<std::string> argv = {built("vmlanectl"), "lab", command, "--dir", lab_dir()};
  argv.insert(argv.end(), rest.begin(), rest.end());
  return argv;
}

RunResult LabFixture::lab(const std::string& command, const std::vector<std::string>& rest) const {
  return test::run(lab_command(command, rest), {.timeout = std::chrono::minutes(8)});
}

RunResult LabFixture::exec(const std::string& name, const std::vector<std::string>& command) const {
  std::vector<std::string> rest = {name, "--"};
  rest.insert(rest.end(), command.begin(), command.end());
  return lab("exec", rest);
}

std::string LabFixture::address(const Json& rows, const std::string& name, std::size_t index) {
  for (const Json& row : rows) {
    if (row.at("name") != name) continue;
    const std::string text = row.at("ips").at(index);
    return text.substr(0, text.find('/'));
  }
  return {};
}

void LabFixture::expect_dhcp_gives(const std::string& vm, const std::string& address) const {
  const std::string script =
      "printf '#!/bin/sh\\n[ $1 != bound ] || echo told $ip\\n' >/tmp/told; chmod +x /tmp/told; ";
  const auto told =
      exec(vm, {"sh", "-c", script + "busybox udhcpc -i eth0 -n -q -f -t 5 -T 3 -s /tmp/told 2>&1"});
  EXPECT_TRUE(told.ok()) << told.out << told.err;
  EXPECT_NE(told.out.find("told " + address + "\n"), std::string::npos) << told.out;
}

Json LabFixture::rows() const {
  const auto listed = lab("ls", {"-o", "json"});
  EXPECT_TRUE(listed.ok()) << listed.err;
  return listed.ok() ? Json::parse(listed.out) : Json::array();
}

std::vector<pid_t> LabFixture::processes() const {
  std::vector<pid_t> pids;
  const Json state = Json::parse(slurp(lab_dir() / "lab.json"));
  for (const Json& workload : state.at("workloads")) {
    for (const Json& process : workload.at("processes")) pids.push_back(process.at("pid").get<pid_t>());
  }
  return pids;
}

void LabFixture::expect_nothing_left(const std::vector<pid_t>& processes) const {
  EXPECT_FALSE(std::filesystem::exists(lab_dir()));
  EXPECT_EQ(slurp("/proc/self/mountinfo").find(lab_dir().string()), std::string::npos);
  for (const pid_t pid : processes) {
    // A process that has ended but was not reaped has no command line.
    EXPECT_EQ(slurp("/proc/" + std::to_string(pid) + "/cmdline"), "") << "process " << pid << " still runs";
  }
}

}  // namespace vmlane::test
