// SPDX-License-Identifier: Apache-2.0
#include "policy/decode.h"

#include <algorithm>

namespace vmlane::policy {
namespace {

std::optional<Requirement> decode_requirement(const Json& json, const std::string& key,
                                              const Subject& subject, const std::string& effect) {
  const auto refuse = [&](const std::string& at, const std::string& reason) {
    subject.report(key + at, reason, effect);
    return std::nullopt;
  };
  if (!json.is_object()) return refuse("", Subject::wrong(json, "an object"));
  if (!only_known_keys(json, key, {"key", "operator", "values"}, subject, effect)) return std::nullopt;
  const Json* label = member(json, "key");
  const Json* op = member(json, "operator");
  const Json* values = member(json, "values");
  if (label == nullptr || !label->is_string() || label->get_ref<const std::string&>().empty())
    return refuse(".key", "names no label");
  Requirement requirement{.key = label->get<std::string>()};
  const std::string name = op != nullptr && op->is_string() ? op->get<std::string>() : "";
  if (name == "In") {
    requirement.op = Requirement::Operator::kIn;
  } else if (name == "NotIn") {
    requirement.op = Requirement::Operator::kNotIn;
  } else if (name == "Exists") {
    requirement.op = Requirement::Operator::kExists;
  } else if (name == "DoesNotExist") {
    requirement.op = Requirement::Operator::kDoesNotExist;
  } else {
    return refuse(".operator",
                  Subject::wrong(op == nullptr ? Json() : *op, "In, NotIn, Exists or DoesNotExist"));
  }
  const bool takes_values = name == "In" || name == "NotIn";
  const bool has_values = values != nullptr && !(values->is_array() && values->empty());
  if (takes_values != has_values)
    return refuse(".values",
                  takes_values ? "is empty, " + name + " needs some" : "is given, " + name + " takes none");
  if (!takes_values) return requirement;
  if (!values->is_array()) return refuse(".values", Subject::wrong(*values, "a list of strings"));
  for (const Json& value : *values) {
    if (!value.is_string()) return refuse(".values", Subject::wrong(*values, "a list of strings"));
    requirement.values.insert(value.get<std::string>());
  }
  return requirement;
}

std::string without_leading_zeros(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); i++) {
    const bool begins = plain.empty() || plain.back() == '.';
    const bool more = i + 1 < text.size() && text[i + 1] >= '0' && text[i + 1] <= '9';
    if (text[i] == '0' && begins && more) continue;
    plain += text[i];
  }
  return plain;
}

}  // namespace

std::string at(const std::string& key, std::size_t index) {
  return key + "[" + std::to_string(index) + "]";
}

Subject::Subject(const Json& object, std::string kind, std::string source, std::vector<Problem>& problems)
    : name("?"), kind_(std::move(kind)), source_(std::move(source)), problems_(problems) {
  const Json* metadata = member(object, "metadata");
  if (metadata != nullptr) {
    const Json* given = member(*metadata, "namespace");
    if (given != nullptr && given->is_string()) ns = given->get<std::string>();
    if (given != nullptr && !given->is_string()) {
      named = false;
      ns = "?";  // which is no name, so nobody's
      report("metadata.namespace", wrong(*given, "a string"), "the object is in no namespace");
    }
    const Json* own = member(*metadata, "name");
    if (own != nullptr && own->is_string()) name = own->get<std::string>();
  }
  if (name == "?" || name.empty()) {
    name = "?";
    named = false;
    report("metadata.name", "is missing", "the object goes by the name \"?\"");
  }
  if (metadata == nullptr) return;
  const Json* given = member(*metadata, "annotations");
  if (given == nullptr) return;
  annotated = given->is_object();
  if (!annotated) {
    report("metadata.annotations", wrong(*given, "an object of strings"), "they are left out");
    return;
  }
  for (const auto& [label, value] : given->items()) {
    if (value.is_string()) {
      annotations[label] = value.get<std::string>();
    } else {
      annotated = false;
      report("metadata.annotations." + label, wrong(value, "a string"), "it is left out");
    }
  }
}

std::string Subject::wrong(const Json& value, std::string_view expected) {
  constexpr std::size_t kShown = 80;
  return "is " + to_text(value).substr(0, kShown) + ", expected " + std::string(expected);
}

const Json* member(const Json& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

bool only_known_keys(const Json& object, const std::string& key,
                     std::initializer_list<std::string_view> known, const Subject& subject,
                     const std::string& effect) {
  bool all = true;
  for (const auto& [name, value] : object.items()) {
    if (value.is_null() || std::ranges::find(known, name) != known.end()) continue;
    subject.report(key + "." + name, "is not known here", effect);
    all = false;
  }
  return all;
}

std::optional<Labels> decode_labels(const Json* json, const std::string& key, const Subject& subject,
                                    const std::string& effect) {
  Labels labels;
  if (json == nullptr) return labels;
  if (!json->is_object()) {
    subject.report(key, Subject::wrong(*json, "an object of strings"), effect);
    return std::nullopt;
  }
  bool whole = true;
  for (const auto& [name, value] : json->items()) {
    if (value.is_string()) {
      labels[name] = value.get<std::string>();
      continue;
    }
    subject.report(key + "." + name, Subject::wrong(value, "a string"), effect);
    whole = false;
  }
  return whole ? std::optional(std::move(labels)) : std::nullopt;
}

DecodedSelector decode_selector(const Json* json, const std::string& key, const Subject& subject,
                                const std::string& effect) {
  DecodedSelector decoded;
  if (json == nullptr) return decoded;
  if (!json->is_object()) {
    subject.report(key, Subject::wrong(*json, "a selector"), effect);
    return {.selector = {}, .whole = false};
  }
  auto& requirements = decoded.selector.requirements;
  decoded.whole = only_known_keys(*json, key, {"matchLabels", "matchExpressions"}, subject, effect);
  if (const Json* labels = member(*json, "matchLabels")) {
    const auto read = decode_labels(labels, key + ".matchLabels", subject, effect);
    decoded.whole = decoded.whole && read;
    for (const auto& [name, value] : read.value_or(Labels()))
      requirements.push_back({name, Requirement::Operator::kIn, {value}});
  }
  if (const Json* expressions = member(*json, "matchExpressions")) {
    if (!expressions->is_array()) {
      subject.report(key + ".matchExpressions", Subject::wrong(*expressions, "a list"), effect);
      decoded.whole = false;
      return decoded;
    }
    for (std::size_t i = 0; i < expressions->size(); i++) {
      auto read = decode_requirement((*expressions)[i], key + ".matchExpressions[" + std::to_string(i) + "]",
                                     subject, effect);
      decoded.whole = decoded.whole && read;
      if (read) requirements.push_back(std::move(*read));
    }
  }
  return decoded;
}

std::optional<IpPrefix> decode_cidr(const Json& json, const std::string& key, const Subject& subject,
                                    const std::string& effect) {
  std::string text = json.is_string() ? json.get<std::string>() : std::string();
  if (text.find(':') == std::string::npos) {
    const auto slash = text.find('/');
    const std::string length = slash == std::string::npos ? "" : text.substr(slash);
    text = without_leading_zeros(std::string_view(text).substr(0, slash)) + length;
  }
  const auto prefix = IpPrefix::parse(text);
  if (prefix) return prefix->network();
  subject.report(key, Subject::wrong(json, "an address block, as 192.0.2.0/24"), effect);
  return std::nullopt;
}

std::optional<bool> decode_audit(const Subject& subject) {
  const auto found = subject.annotations.find(std::string(kModeAnnotation));
  if (found == subject.annotations.end()) return std::nullopt;
  if (found->second == "audit") return true;
  if (found->second != "enforce")
    subject.report("metadata.annotations." + std::string(kModeAnnotation),
                   Subject::wrong(found->second, "audit or enforce"), "it counts as enforce");
  return false;
}

bool valid_port_name(std::string_view name) {
  constexpr std::size_t kMaxName = 15;  // RFC 6335, 5.1
  const auto letter = [](char c) { return c >= 'a' && c <= 'z'; };
  const auto allowed = [&](char c) { return letter(c) || (c >= '0' && c <= '9') || c == '-'; };
  return !name.empty() && name.size() <= kMaxName && std::ranges::all_of(name, allowed) &&
         std::ranges::any_of(name, letter);
}

std::optional<std::uint8_t> decode_protocol(std::string_view name) {
  if (name == "TCP") return kTcp;
  if (name == "UDP") return kUdp;
  if (name == "SCTP") return kSctp;
  return std::nullopt;
}

void close(Policy& policy) {
  for (auto& rules : policy.rules) {
    std::erase_if(rules, [](const Rule& rule) { return rule.action == Action::kAccept; });
    for (Rule& rule : rules) rule.action = Action::kDeny;
  }
}

}  // namespace vmlane::policy
