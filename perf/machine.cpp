// SPDX-License-Identifier: Apache-2.0
#include "perf/machine.h"

#include <sched.h>
#include <sys/utsname.h>

#include <cstdio>
#include <fstream>
#include <memory>

#include "lab/privileges.h"
#include "perf/version.h"

namespace vmlane::perf {
namespace {

std::string first_line(const std::string& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line;
}

// The value after "key :" of the first line that begins with the key.
std::string value_of(const std::string& file, const std::string& key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(key)) continue;
    const auto colon = line.find(':');
    const auto start = line.find_first_not_of(" \t", colon + 1);
    return colon == std::string::npos || start == std::string::npos ? "" : line.substr(start);
  }
  return {};
}

bool has_word(const std::string& text, const std::string& word) {
  return (" " + text + " ").find(" " + word + " ") != std::string::npos;
}

// Only told, so a QEMU that does not answer is no error.
std::string qemu_version(const std::string& program) {
  if (program.find('\'') != std::string::npos) return "not told";  // it would end the shell's quotes
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(
      ::popen(("'" + program + "' --version 2>/dev/null").c_str(), "re"), ::pclose);
  char line[256] = {};
  if (!pipe || std::fgets(line, sizeof line, pipe.get()) == nullptr) return "not found";
  std::string text = line;
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

}  // namespace

std::vector<int> usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(static_cast<int>(cpu));
  }
  return cpus;
}

std::string cpu_list(const std::vector<int>& cpus) {
  std::string text;
  for (const int cpu : cpus) text += (text.empty() ? "" : ",") + std::to_string(cpu);
  return text;
}

std::map<std::string, std::string> describe_machine(const SiteOptions& options) {
  utsname kernel{};
  ::uname(&kernel);
  const std::string flags = value_of("/proc/cpuinfo", "flags");
  const std::string governor = first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  const NodeConfig config;
  return {
      {"cpu", value_of("/proc/cpuinfo", "model name")},
      {"cpus", std::to_string(usable_cpus().size())},
      {"governor", governor.empty() ? "not told by this kernel" : governor},
      {"memory", value_of("/proc/meminfo", "MemTotal")},
      {"kernel", std::string(kernel.sysname) + " " + kernel.release},
      {"virtual machine", has_word(flags, "hypervisor") ? "yes" : "no"},
      {"clock", first_line("/sys/devices/system/clocksource/clocksource0/current_clocksource")},
      {"kvm for guests", lab::kvm_access(config.owner_uid, config.owner_gid).usable ? "yes" : "no, emulated"},
      {"qemu", qemu_version(options.qemu)},
      {"vmlane", kVersion}};
}

}  // namespace vmlane::perf
