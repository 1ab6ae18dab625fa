// SPDX-License-Identifier: Apache-2.0
#include "perf/cpu_time.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>

#include "perf/timing.h"

namespace vmlane::perf {
namespace {

namespace fs = std::filesystem;

double percent(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> children;
  std::error_code error;
  const fs::path threads = "/proc/" + std::to_string(pid) + "/task";
  for (fs::directory_iterator entry(threads, error), end; !error && entry != end; entry.increment(error)) {
    std::ifstream file(entry->path() / "children");
    for (pid_t child = 0; file >> child;) children.push_back(child);
  }
  return children;
}

}  // namespace

std::uint64_t process_cpu_ns(pid_t pid) {
  clockid_t clock = 0;
  if (::clock_getcpuclockid(pid, &clock) != 0) return 0;
  std::uint64_t sum = read_clock_ns(clock);
  for (const pid_t child : children_of(pid)) sum += process_cpu_ns(child);
  return sum;
}

std::vector<pid_t> softirq_threads() {
  std::vector<pid_t> found;
  std::error_code error;
  for (fs::directory_iterator entry("/proc", error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename();
    if (!std::ranges::all_of(name, [](unsigned char c) { return std::isdigit(c) != 0; })) continue;
    std::ifstream file(entry->path() / "comm");
    std::string comm;
    std::getline(file, comm);
    if (comm.starts_with("ksoftirqd/")) found.push_back(std::stoi(name));
  }
  return found;
}

MachineCpu machine_cpu() {
  std::ifstream file("/proc/stat");
  std::string label;
  file >> label;
  MachineCpu cpu;
  constexpr int kIdle = 3;
  constexpr int kWait = 4;
  constexpr int kSteal = 7;  // what follows is counted under user time already
  for (int i = 0; i <= kSteal; i++) {
    std::uint64_t ticks = 0;
    file >> ticks;
    cpu.total += ticks;
    if (i == kIdle || i == kWait) cpu.idle += ticks;
    if (i == kSteal) cpu.steal = ticks;
  }
  return cpu;
}

double MachineCpu::busy_percent_since(const MachineCpu& before) const {
  return 100 - percent(idle - before.idle, total - before.total);
}

double MachineCpu::steal_percent_since(const MachineCpu& before) const {
  return percent(steal - before.steal, total - before.total);
}

}  // namespace vmlane::perf
