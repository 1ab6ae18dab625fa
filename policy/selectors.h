// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "policy/interner.h"
#include "policy/objects.h"

// Which selectors mean a pod. Internal to this room.
namespace vmlane::policy {

using SelectorId = std::uint32_t;
using NamespaceId = std::uint32_t;

// Numbers of key and value in one; sorted by key. A key stands once.
using Label = std::uint64_t;
std::vector<Label> intern_labels(const Labels& labels, StringInterner& strings);

// Selectors of pods, found by one of the labels that they ask for, so that a pod meets few of those that do
// not mean it.
class SelectorIndex {
 public:
  explicit SelectorIndex(StringInterner& strings) : strings_(strings) {}

  // Equal selectors have one number.
  SelectorId add(const PodSelector& selector);
  std::size_t count() const { return selectors_.size(); }

  // Every namespace with pods must have been given.
  void set_namespace(NamespaceId ns, std::vector<Label> labels);
  bool knows(NamespaceId ns) const { return namespaces_.contains(ns); }

  // The selectors that mean a pod, rising.
  std::vector<SelectorId> matching(NamespaceId ns, std::span<const Label> labels) const;
  bool matches(SelectorId selector, NamespaceId ns, std::span<const Label> labels) const;
  // The one namespace whose pods it can mean, if there is such.
  std::optional<NamespaceId> only_namespace(SelectorId selector) const;
  bool means(SelectorId selector, NamespaceId ns) const;

  struct Condition {
    std::uint32_t key = 0;
    Requirement::Operator op = Requirement::Operator::kExists;
    std::vector<std::uint32_t> values;  // rising
  };
  using Conditions = std::vector<Condition>;
  Conditions conditions(const Selector& selector) const;
  static bool hold(const Conditions& conditions, std::span<const Label> labels);

 private:
  // What selectors say of namespaces.
  struct Part {
    std::optional<NamespaceId> only;
    Conditions conditions;
    std::vector<SelectorId> any_label;  // selectors of this part that ask for no label
    bool has_anchors = false;
  };
  struct Entry {
    std::uint32_t part = 0;
    Conditions conditions;
  };
  struct NamespaceEntry {
    std::vector<Label> labels;
    std::vector<std::uint32_t> parts;  // that hold for it
  };
  struct Anchor {
    std::uint32_t part;
    Label label;
    bool operator==(const Anchor&) const = default;
  };
  struct AnchorHash {
    std::size_t operator()(const Anchor& anchor) const {
      return (anchor.label * 0x9e3779b97f4a7c15U) ^ (anchor.part * 0xff51afd7ed558ccdU);
    }
  };

  std::uint32_t part_of(const PodSelector& selector);
  static bool holds(const Part& part, NamespaceId ns, std::span<const Label> labels);
  void anchor(SelectorId id);

  StringInterner& strings_;
  std::map<PodSelector, SelectorId> ids_;
  std::vector<Entry> selectors_;
  std::vector<Part> parts_;
  std::map<NamespaceId, std::uint32_t> part_of_only_;
  std::map<Selector, std::uint32_t> part_of_selector_;
  std::unordered_map<NamespaceId, NamespaceEntry> namespaces_;
  std::unordered_map<Anchor, std::vector<SelectorId>, AnchorHash> anchors_;
};

}  // namespace vmlane::policy
