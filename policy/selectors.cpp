// SPDX-License-Identifier: Apache-2.0
#include "policy/selectors.h"

#include <algorithm>

namespace vmlane::policy {
namespace {

constexpr unsigned kKeyShift = 32;

Label label_of(std::uint32_t key, std::uint32_t value) {
  return Label{key} << kKeyShift | value;
}

}  // namespace

std::vector<Label> intern_labels(const Labels& labels, StringInterner& strings) {
  std::vector<Label> interned;
  interned.reserve(labels.size());
  for (const auto& [key, value] : labels) interned.push_back(label_of(strings.of(key), strings.of(value)));
  std::ranges::sort(interned);
  return interned;
}

SelectorIndex::Conditions SelectorIndex::conditions(const Selector& selector) const {
  Conditions conditions;
  for (const Requirement& requirement : selector.requirements) {
    Condition condition{.key = strings_.of(requirement.key), .op = requirement.op, .values = {}};
    for (const std::string& value : requirement.values) condition.values.push_back(strings_.of(value));
    std::ranges::sort(condition.values);
    conditions.push_back(std::move(condition));
  }
  return conditions;
}

bool SelectorIndex::hold(const Conditions& conditions, std::span<const Label> labels) {
  return std::ranges::all_of(conditions, [&](const Condition& condition) {
    const auto label = std::ranges::lower_bound(labels, label_of(condition.key, 0));
    const bool there = label != labels.end() && *label >> kKeyShift == condition.key;
    using Operator = Requirement::Operator;
    if (condition.op == Operator::kExists) return there;
    if (condition.op == Operator::kDoesNotExist) return !there;
    const bool listed =
        there && std::ranges::binary_search(condition.values, static_cast<std::uint32_t>(*label));
    return listed == (condition.op == Operator::kIn);
  });
}

bool SelectorIndex::holds(const Part& part, NamespaceId ns, std::span<const Label> labels) {
  return part.only ? *part.only == ns : hold(part.conditions, labels);
}

SelectorId SelectorIndex::add(const PodSelector& selector) {
  const auto [entry, fresh] = ids_.try_emplace(selector, static_cast<SelectorId>(selectors_.size()));
  if (!fresh) return entry->second;
  selectors_.push_back({part_of(selector), conditions(selector.pods)});
  anchor(entry->second);
  return entry->second;
}

std::uint32_t SelectorIndex::part_of(const PodSelector& selector) {
  const auto next = static_cast<std::uint32_t>(parts_.size());
  Part part;
  if (selector.ns.empty()) {
    const auto [entry, fresh] = part_of_selector_.try_emplace(selector.namespaces, next);
    if (!fresh) return entry->second;
    part.conditions = conditions(selector.namespaces);
  } else {
    const NamespaceId only = strings_.of(selector.ns);
    const auto [entry, fresh] = part_of_only_.try_emplace(only, next);
    if (!fresh) return entry->second;
    part.only = only;
  }
  for (auto& [ns, known] : namespaces_) {
    if (holds(part, ns, known.labels)) known.parts.push_back(next);
  }
  parts_.push_back(std::move(part));
  return next;
}

// By the condition with the fewest values, for a pod has one of them at most.
void SelectorIndex::anchor(SelectorId id) {
  const Entry& entry = selectors_[id];
  const Condition* best = nullptr;
  for (const Condition& condition : entry.conditions) {
    if (condition.op != Requirement::Operator::kIn) continue;
    if (best == nullptr || condition.values.size() < best->values.size()) best = &condition;
  }
  Part& part = parts_[entry.part];
  if (best == nullptr) {
    part.any_label.push_back(id);
    return;
  }
  part.has_anchors = true;
  for (const std::uint32_t value : best->values)
    anchors_[{entry.part, label_of(best->key, value)}].push_back(id);
}

void SelectorIndex::set_namespace(NamespaceId ns, std::vector<Label> labels) {
  NamespaceEntry& entry = namespaces_[ns];
  entry.labels = std::move(labels);
  entry.parts.clear();
  for (std::uint32_t part = 0; part < parts_.size(); part++) {
    if (holds(parts_[part], ns, entry.labels)) entry.parts.push_back(part);
  }
}

std::vector<SelectorId> SelectorIndex::matching(NamespaceId ns, std::span<const Label> labels) const {
  std::vector<SelectorId> found;
  const auto take = [&](const std::vector<SelectorId>& candidates) {
    for (const SelectorId id : candidates) {
      if (hold(selectors_[id].conditions, labels)) found.push_back(id);
    }
  };
  for (const std::uint32_t part : namespaces_.at(ns).parts) {
    take(parts_[part].any_label);
    if (!parts_[part].has_anchors) continue;
    for (const Label label : labels) {
      const auto anchored = anchors_.find({part, label});
      if (anchored != anchors_.end()) take(anchored->second);
    }
  }
  std::ranges::sort(found);
  return found;
}

bool SelectorIndex::matches(SelectorId selector, NamespaceId ns, std::span<const Label> labels) const {
  return means(selector, ns) && hold(selectors_[selector].conditions, labels);
}

std::optional<NamespaceId> SelectorIndex::only_namespace(SelectorId selector) const {
  return parts_[selectors_[selector].part].only;
}

bool SelectorIndex::means(SelectorId selector, NamespaceId ns) const {
  return holds(parts_[selectors_[selector].part], ns, namespaces_.at(ns).labels);
}

}  // namespace vmlane::policy
