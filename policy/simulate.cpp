// SPDX-License-Identifier: Apache-2.0
#include "policy/simulate.h"

#include <algorithm>
#include <map>
#include <string>

namespace vmlane::policy {
namespace {

std::string key_of(const Change& change) {
  const bool of_namespace =
      change.kind == "Pod" || change.kind == "NetworkPolicy" || change.kind == "MultiNetworkPolicy";
  const std::string ns = change.ns.empty() && of_namespace ? "default" : change.ns;
  return change.kind + " " + (ns.empty() ? "" : ns + "/") + change.name;
}

// Objects without a name, which no cluster takes, are left out and named in `problems`.
Result<std::map<std::string, const Change*>> by_key(const std::vector<Change>& changes,
                                                    std::vector<Problem>& problems) {
  std::map<std::string, const Change*> all;
  for (const Change& change : changes) {
    if (change.name.empty()) {
      problems.push_back(
          {change.kind, "?", "metadata.name", "is missing", "the object is left out", change.source});
      continue;
    }
    const auto [place, fresh] = all.emplace(key_of(change), &change);
    if (!fresh)
      return fail(Code::kConflict,
                  place->first + " is given twice: in " + place->second->source + " and in " + change.source);
  }
  return all;
}

Store store_of(const std::map<std::string, const Change*>& objects) {
  Store store;
  for (const auto& [key, change] : objects) store.apply(*change);
  store.publish();
  return store;
}

}  // namespace

Json Simulation::to_json(const Json& asked) const {
  Json json = {{"asked", asked.size()}, {"changes", Json::array()}, {"problems", Json::array()}};
  for (const VerdictChange& change : changes) {
    json["changes"].push_back({{"probe", asked[change.probe]},
                               {"before", policy::to_json(change.before)},
                               {"after", policy::to_json(change.after)}});
  }
  for (const Problem& problem : problems) json["problems"].push_back(problem.text());
  return json;
}

Result<Simulation> simulate(const std::vector<Change>& objects, const std::vector<Change>& candidates,
                            const std::vector<Probe>& probes) {
  Simulation simulation;
  std::vector<Problem> nameless;
  VMLANE_ASSIGN(auto set, by_key(objects, nameless));
  VMLANE_ASSIGN(const auto added, by_key(candidates, simulation.problems));
  const Store before = store_of(set);
  for (const auto& [key, change] : added) set[key] = change;
  const Store after = store_of(set);
  std::ranges::set_difference(after.problems(), before.problems(), std::back_inserter(simulation.problems));
  for (std::size_t i = 0; i < probes.size(); i++) {
    VMLANE_ASSIGN(const Verdict is, before.ask(probes[i]));
    VMLANE_ASSIGN(const Verdict would_be, after.ask(probes[i]));
    if (is != would_be) simulation.changes.push_back({i, is, would_be});
  }
  return simulation;
}

}  // namespace vmlane::policy
