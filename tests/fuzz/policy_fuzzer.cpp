// SPDX-License-Identifier: Apache-2.0
// Policies, pods, namespaces and nodes: whatever was read of them, the tables say what the oracle says.
// Input: '0' and objects in YAML or JSON; or '1', the seed of a random world, the place of one value in it,
// and the JSON that stands there instead.
#include <cstring>

#include "policy/oracle.h"
#include "policy/reader.h"
#include "policy/store.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/policy_world.h"

namespace vmlane::fuzz {
namespace {

constexpr std::size_t kPods = 5;  // of a text, asked about in pairs
constexpr int kProbesOfAWorld = 20;

void compare(const policy::Objects& objects, const policy::Store& compiled, const policy::Probe& probe) {
  const auto expected = policy::ask_oracle(objects, probe);
  const auto found = compiled.ask(probe);
  require(expected.has_value() == found.has_value(), "oracle and tables know the same pods");
  if (!expected) return;
  const auto is_too_large = [](const policy::Judgement& judgement) {
    return judgement.reason == policy::Reason::kTooLarge;
  };
  if (is_too_large(found->egress) || is_too_large(found->ingress)) return;
  require(*expected == *found, "tables and oracle agree",
          to_text(policy::to_json(*found)) + "\n" + to_text(policy::to_json(*expected)));
}

void compare_pods(const policy::Objects& objects) {
  const policy::Store compiled = policy::compile(objects);
  std::vector<std::string> pods;
  for (const auto& [id, pod] : objects.pods) {
    if (pods.size() < kPods) pods.push_back(id);
  }
  for (const std::string& from : pods) {
    for (const std::string& to : pods) {
      for (const std::uint16_t port : {80, 53}) {
        policy::Probe probe;
        probe.from.pod = from;
        probe.to.pod = to;
        probe.protocol = port == 80 ? policy::kTcp : policy::kUdp;
        probe.port = port;
        compare(objects, compiled, probe);
        probe.v6 = true;
        compare(objects, compiled, probe);
      }
    }
  }
}

void places(const Json& json, const Json::json_pointer& at, std::vector<Json::json_pointer>& into) {
  into.push_back(at);
  if (!json.is_structured()) return;
  for (const auto& [key, value] : json.items())
    places(value, json.is_object() ? at / key : at / std::stoul(key), into);
}

struct Change {
  std::uint8_t seed = 0;
  std::uint8_t object = 0;
  std::uint8_t place = 0;
};

void compare_world(const Change& change, std::string_view value) {
  test::PolicyWorld world(change.seed);
  std::vector<Json> json = world.objects();
  Json& changed = json[change.object % json.size()];
  std::vector<Json::json_pointer> all;
  places(changed, Json::json_pointer(), all);
  const Json replacement = Json::parse(value, nullptr, false);
  if (!replacement.is_discarded()) changed[all[change.place % all.size()]] = replacement;
  policy::Objects objects;
  for (const Json& object : json) policy::add_object(objects, object, "fuzzer");
  const policy::Store compiled = policy::compile(objects);
  for (int i = 0; i < kProbesOfAWorld; i++) {
    const auto probe = policy::parse_probe(world.probe(), "probe");
    require(probe.has_value(), "a probe can be read");
    compare(objects, compiled, *probe);
  }
}

}  // namespace
}  // namespace vmlane::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmlane;
  fuzz::Change change;
  if (size > 0 && data[0] == '0') {
    policy::Objects objects;
    const auto added = policy::add_text(objects, fuzz::text_of(data + 1, size - 1), "fuzzer");
    if (!added) fuzz::require_told(added.error());
    fuzz::compare_pods(objects);
  } else if (size > sizeof(change)) {
    std::memcpy(&change, data + 1, sizeof(change));
    fuzz::compare_world(change, fuzz::text_of(data + 1 + sizeof(change), size - 1 - sizeof(change)));
  }
  return 0;
}
