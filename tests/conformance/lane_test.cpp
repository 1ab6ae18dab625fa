// SPDX-License-Identifier: Apache-2.0
#include "tests/conformance/lane_test.h"

#include <filesystem>
#include <future>

namespace vmlane::test {

void LaneTest::SetUp() {
  PluginFixture::SetUp();
  if (IsSkipped() || !is_macvtap()) return;
  spread_macvtap_numbers(node());
  make_lower(kLowerDevice);
}

void LaneTest::make_lower(const std::string& name) const {
  must({"ip", "link", "add", name, "type", "veth", "peer", "name", name + "-far"});
  must({"ip", "link", "set", name, "up"});
  must({"ip", "link", "set", name + "-far", "up"});
  ASSERT_TRUE(await_active("", name));
}

Json LaneTest::owned_link_of(const std::string& id) const {
  if (!is_macvtap()) return host_link_of(id);
  for (const auto& [name, pod] : pods()) {
    if (!std::filesystem::exists(pod->path())) continue;
    for (const Json& link : ip_json(pod->path(), {"-d", "link"})) {
      if (link.value("ifalias", "").starts_with("vmlane:" + id + ":")) return link;
    }
  }
  return nullptr;
}

std::size_t LaneTest::nics() const {
  if (!is_macvtap()) return ports_of("br1").size();
  std::size_t count = 0;
  for (const auto& [name, pod] : pods()) {
    if (!std::filesystem::exists(pod->path())) continue;
    for (const Json& link : ip_json(pod->path(), {"-d", "link"})) {
      count += link.value("ifalias", "").starts_with("vmlane:") ? 1 : 0;
    }
  }
  return count;
}

std::vector<std::string> LaneTest::idle_links() const {
  if (!is_macvtap()) return {"lo"};
  return {"lo", kLowerDevice, std::string(kLowerDevice) + "-far"};
}

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
