// SPDX-License-Identifier: Apache-2.0
#include "tests/conformance/lane_test.h"

#include <future>

namespace vmlane::test {

std::vector<CniOutcome> LaneTest::run_at_once(const std::vector<CniCall>& calls) const {
  std::vector<std::future<CniOutcome>> running;
  for (const CniCall& call : calls)
    running.push_back(std::async(std::launch::async, [this, &call] { return run_call(call); }));
  std::vector<CniOutcome> outcomes;
  for (auto& outcome : running) outcomes.push_back(outcome.get());
  return outcomes;
}

Json sandbox_interface(const Json& result) {
  Json found = nullptr;
  int count = 0;
  for (const Json& interface : result.value("interfaces", Json::array())) {
    if (interface.value("sandbox", "").empty()) continue;
    found = interface;
    count++;
  }
  EXPECT_EQ(count, 1) << "exactly one interface is the container's: " << result;
  return count == 1 ? found : Json(nullptr);
}

}  // namespace vmlane::test
