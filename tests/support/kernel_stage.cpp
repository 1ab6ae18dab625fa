// SPDX-License-Identifier: Apache-2.0
#include "tests/support/kernel_stage.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>

#include <ctime>
#include <stdexcept>

#include "ebpf/policy_layout.bpf.h"
#include "policy/connection.h"
#include "tests/support/result.h"

namespace vmlane::test {
namespace {

constexpr int kPass = -1;  // TC_ACT_UNSPEC
constexpr std::uint32_t kOnlyWorkload = 0;

}  // namespace

KernelStage::KernelStage(const NodeConfig& node, std::size_t connections, std::size_t counters)
    : programs_(value_of(ebpf::policy_programs(node))) {
  const vmlane_policy_owner owner{};
  if (bpf_map_update_elem(programs_.map(ebpf::PolicyMap::kOwners), &kOnlyWorkload, &owner, BPF_ANY) != 0)
    throw std::runtime_error("the policy stage takes no workload");
  tables_.emplace(
      value_of(ebpf::PolicyTables::open(node, {.connections = connections, .counters = counters})));
}

void KernelStage::set_workload(const vmlane_policy_workload& workload) {
  EXPECT_EQ(
      bpf_map_update_elem(programs_.map(ebpf::PolicyMap::kSubjects), &kOnlyWorkload, &workload, BPF_ANY), 0);
}

bool KernelStage::passes(const Frame& frame, bool egress) const {
  constexpr std::size_t kRoom = 256;
  Frame out(frame.size() + kRoom);
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_out = out.data(),
              .data_size_in = static_cast<std::uint32_t>(frame.size()),
              .data_size_out = static_cast<std::uint32_t>(out.size()));
  const int program = (egress ? programs_.from : programs_.to).get();
  EXPECT_EQ(bpf_prog_test_run_opts(program, &options), 0);
  return static_cast<int>(options.retval) == kPass;
}

std::uint32_t stage_ticks() {
  constexpr std::uint64_t kSecond = 1'000'000'000;
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<std::uint32_t>(
      (static_cast<std::uint64_t>(now.tv_sec) * kSecond + static_cast<std::uint64_t>(now.tv_nsec)) >>
      VMLANE_CONNECTION_TICK_BITS);
}

}  // namespace vmlane::test
