// SPDX-License-Identifier: Apache-2.0
// The cases of tests/conformance/policy as packets: the first one of each connection goes through the
// source's egress and the destination's ingress, in the kernel's programs (BPF_PROG_TEST_RUN) and in native
// code.
#include "policy/native_stage.h"
#include "policy/store.h"
#include "tests/support/host.h"
#include "tests/support/kernel_stage.h"
#include "tests/support/policy_cases.h"
#include "tests/support/policy_frames.h"
#include "tests/support/result.h"

namespace vmlane::test {
namespace {

constexpr std::size_t kConnections = 1 << 15;

// One workload, which is one pod after the other.
class PolicyCasesKernel : public HostFixture {
 protected:
  void SetUp() override {
    HostFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    stage_.emplace(node(), kConnections);
  }

  void publish(const PolicyStep& step) {
    objects_ = policy_objects(step);
    store_ = policy::Store();
    store_.put(objects_);
    const auto block = store_.publish().block;
    block_.assign(block.begin(), block.end());
    ASSERT_TRUE(succeeded(stage_->tables().publish(++generation_, block_, {})));
    native_.use_tables({block_.data(), static_cast<std::uint32_t>(block_.size() * sizeof(block_[0]))},
                       static_cast<std::uint32_t>(generation_));
  }

  // Whether the end of the connection that is `pod` lets it pass; one that is not judged does.
  bool passes(const std::string& pod, const policy::Probe& probe, const Frame& frame, bool egress) {
    const auto endpoint = pod.empty() ? std::nullopt : store_.endpoint(pod, probe.network);
    if (!endpoint) return true;
    vmlane_policy_workload workload{};
    workload.incarnation = ++incarnation_;
    const std::uint64_t number = std::uint64_t{incarnation_} << 32 | (*endpoint + 1);
    workload.endpoint[0] = number;
    workload.endpoint[1] = number;
    stage_->set_workload(workload);
    const bool by_kernel = stage_->passes(frame, egress);
    const bool natively = native_
                              .decide(frame, workload, egress ? VMLANE_POLICY_EGRESS : VMLANE_POLICY_INGRESS,
                                      stage_ticks(), true)
                              .passes();
    EXPECT_EQ(by_kernel, natively) << (egress ? "egress of " : "ingress of ") << pod;
    return by_kernel;
  }

  // The pod that is an end, by its name or by its address.
  std::string pod_of(const policy::End& end, const policy::Probe& probe) const {
    if (!end.pod.empty()) return end.pod;
    for (const auto& [id, pod] : objects_.pods) {
      const auto own = address_of(objects_, {.pod = id, .address = {}}, probe);
      if (own && *own == end.address && !pod.ended) return id;
    }
    return {};
  }

  // Nothing for ends that have no address of that family.
  std::optional<Frame> first_packet(const policy::Probe& probe) const {
    const auto source = address_of(objects_, probe.from, probe);
    const auto destination = address_of(objects_, probe.to, probe);
    if (!source || !destination || source->v6 != destination->v6) return std::nullopt;
    return make_packet({.source = *source,
                        .destination = *destination,
                        .protocol = probe.protocol,
                        .destination_port = probe.port});
  }

  std::optional<KernelStage> stage_;
  policy::NativeStage native_{kConnections, 1};
  policy::Objects objects_;
  policy::Store store_;
  std::vector<std::uint64_t> block_;
  std::uint64_t generation_ = 0;
  std::uint32_t incarnation_ = 0;
};

TEST_F(PolicyCasesKernel, EveryConnectionOfEveryCaseIsJudgedAsExpected) {
  std::size_t asked = 0;
  std::size_t unsent = 0;
  for (const std::string& file : policy_case_files()) {
    for (const PolicyCase& one : policy_cases(file)) {
      for (const PolicyStep& step : one.steps) {
        publish(step);
        for (const PolicyExpectation& expected : step.expectations) {
          const policy::Probe& probe = expected.probe;
          const auto frame = first_packet(probe);
          const std::string from = pod_of(probe.from, probe);
          const std::string to = pod_of(probe.to, probe);
          if (!frame || (!from.empty() && from == to)) {
            unsent++;
            continue;
          }
          const bool passed = passes(from, probe, *frame, true) && passes(to, probe, *frame, false);
          EXPECT_EQ(passed, expected.allowed) << file << ": " << one.name << ": " << expected.text;
          asked++;
        }
      }
    }
  }
  EXPECT_GT(asked, 10'000U);
  EXPECT_LT(unsent, asked / 50) << "pods without addresses, and pods that speak to themselves";
}

}  // namespace
}  // namespace vmlane::test
