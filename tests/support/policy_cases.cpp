// SPDX-License-Identifier: Apache-2.0
#include "tests/support/policy_cases.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "manifests/yaml.h"
#include "policy/reader.h"
#include "tests/support/host.h"
#include "tests/support/paths.h"

namespace vmlane::test {
namespace {

namespace fs = std::filesystem;

const fs::path& directory() {
  static const fs::path path = source_file("tests/conformance/policy");
  return path;
}

class StepReader {
 public:
  StepReader(PolicyStep& step, const Json& given) : step_(step), given_(given) {}

  void take_objects() {
    for (const std::string name : given_.value("remove", Json::array()))
      EXPECT_EQ(step_.objects.erase(name), 1U) << name;
    for (const Json& object : given_.value("objects", Json::array()))
      step_.objects[policy_object_name(object)] = object;
    if (!given_.contains("spec")) return;
    step_.objects["NetworkPolicy x/p"] = {{"apiVersion", "networking.k8s.io/v1"},
                                          {"kind", "NetworkPolicy"},
                                          {"metadata", {{"name", "p"}, {"namespace", "x"}}},
                                          {"spec", given_["spec"]}};
  }

  void take_statements(const std::string& family) {
    for (const Json& statement : given_["expect"]) {
      if (statement.contains("is")) {
        ask(statement, statement["from"], statement["to"], "", statement["is"] == "allow");
        continue;
      }
      const bool to_one =
          statement["to"].is_string() && statement["to"].get<std::string>().find('/') != std::string::npos;
      const std::string one = statement[to_one ? "to" : "from"];
      const std::set<std::string> others = pods_of(statement[to_one ? "from" : "to"], one);
      for (const std::string each : {"ipv4", "ipv6"}) {
        if (!family.empty() && family != each) continue;
        for (const std::string& pod : all_but(one))
          ask(statement, to_one ? pod : one, to_one ? one : pod, each, others.contains(pod));
      }
    }
  }

 private:
  std::set<std::string> all_but(const std::string& one) const {
    constexpr std::string_view kPod = "Pod ";
    std::set<std::string> pods;
    for (const auto& [name, object] : step_.objects) {
      if (name.starts_with(kPod) && name.substr(kPod.size()) != one) pods.insert(name.substr(kPod.size()));
    }
    return pods;
  }

  std::set<std::string> pods_of(const Json& given, const std::string& but) const {
    if (given == "all") return all_but(but);
    if (given == "none") return {};
    std::set<std::string> pods;
    for (const std::string item : given) {
      for (const std::string& pod : all_but(but)) {
        const bool whole = item.ends_with("/*") && pod.starts_with(item.substr(0, item.size() - 1));
        if (whole || pod == item) pods.insert(pod);
      }
    }
    return pods;
  }

  void ask(const Json& statement, const std::string& from, const std::string& to, const std::string& family,
           bool allowed) {
    const std::string port = statement["port"];
    const auto slash = port.find('/');
    Json json = {{"from", from}, {"to", to}, {"family", family}, {"protocol", port.substr(0, slash)}};
    if (slash != std::string::npos) json["port"] = std::stoi(port.substr(slash + 1));
    if (statement.contains("network")) json["network"] = statement["network"];
    const auto probe = policy::parse_probe(json, "probe");
    ASSERT_TRUE(probe) << probe.error().text();
    step_.expectations.push_back({*probe, allowed, json.dump()});
  }

  PolicyStep& step_;
  const Json& given_;
};

}  // namespace

policy::Objects policy_objects(const PolicyStep& step) {
  policy::Objects read;
  for (const auto& [name, object] : step.objects) policy::add_object(read, object, name);
  for (const policy::Problem& problem : read.problems) ADD_FAILURE() << problem.text();
  return read;
}

std::optional<IpAddress> address_of(const policy::Objects& objects, const policy::End& end,
                                    const policy::Probe& probe) {
  if (end.pod.empty()) return end.address;
  const auto pod = objects.pods.find(end.pod);
  if (pod == objects.pods.end()) return std::nullopt;
  for (const policy::PodInterface& interface : pod->second.interfaces) {
    if (interface.network != probe.network) continue;
    const auto found = std::ranges::find(interface.addresses, probe.v6, &IpAddress::v6);
    if (found != interface.addresses.end()) return *found;
  }
  return std::nullopt;
}

std::vector<Json> policy_documents(const std::string& file) {
  const auto parsed = parse_yaml(slurp(directory() / file), file);
  EXPECT_TRUE(parsed) << parsed.error().text();
  std::vector<Json> values;
  if (!parsed) return values;
  for (const YamlDocument& document : *parsed) values.push_back(document.value);
  return values;
}

std::string policy_object_name(const Json& object) {
  const Json& metadata = object["metadata"];
  const std::string ns = metadata.value("namespace", "");
  return object["kind"].get<std::string>() + " " + (ns.empty() ? "" : ns + "/") + metadata.value("name", "");
}

const std::map<std::string, Json>& policy_world(const std::string& file) {
  static std::map<std::string, std::map<std::string, Json>> worlds;
  const auto [world, fresh] = worlds.try_emplace(file);
  if (fresh) {
    for (const Json& object : policy_documents(file)) world->second[policy_object_name(object)] = object;
  }
  return world->second;
}

std::optional<PacketSpec> case_packet(const policy::Objects& objects, const policy::Probe& probe,
                                      std::uint16_t source_port) {
  const bool inward = probe.to.pod == kCasePod;
  const policy::End& other = inward ? probe.from : probe.to;
  const bool is_end = inward || probe.from.pod == kCasePod;
  if (!is_end || other.pod == kCasePod || probe.network != policy::kDefaultNetwork) return std::nullopt;
  const auto own = address_of(objects, inward ? probe.to : probe.from, probe);
  const auto far = address_of(objects, other, probe);
  const bool node = far && !far->v6 && far->to_string().starts_with("198.51.100.");
  if (!own || !far || far->v6 != own->v6 || node) return std::nullopt;
  return PacketSpec{.source = inward ? *far : *own,
                    .destination = inward ? *own : *far,
                    .protocol = probe.protocol,
                    .source_port = source_port,
                    .destination_port = probe.port};
}

std::vector<std::string> policy_case_files(const std::string& below) {
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(directory() / below)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".yaml") && !name.starts_with("world")) files.push_back(name);
  }
  std::ranges::sort(files);
  return files;
}

std::vector<PolicyCase> policy_cases(const std::string& file) {
  std::vector<PolicyCase> cases;
  for (const Json& given : policy_documents(file)) {
    PolicyCase& one = cases.emplace_back();
    one.name = given.value("case", "?");
    PolicyStep step{.objects = policy_world(given.value("world", "world.yaml")), .expectations = {}};
    for (const Json& moment : given.value("steps", Json::array({given}))) {
      step.expectations.clear();
      StepReader reader(step, moment);
      reader.take_objects();
      reader.take_statements(given.value("family", ""));
      EXPECT_FALSE(step.expectations.empty()) << one.name;
      one.steps.push_back(step);
    }
  }
  return cases;
}

}  // namespace vmlane::test
