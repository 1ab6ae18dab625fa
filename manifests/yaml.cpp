// SPDX-License-Identifier: Apache-2.0
#include "manifests/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/parser.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>
#include <sstream>

namespace vmlane {
namespace {

// The same depth as parse_json's. The number of values bounds what a document full of aliases may grow to.
constexpr std::size_t kMaxDepth = 64;
constexpr std::size_t kMaxValues = 200'000;

// Thrown by the conversion to stop it; never leaves parse_yaml.
struct Refused {
  YAML::Mark mark;
  std::string problem;
};

std::string position(const YAML::Mark& mark) {
  if (mark.is_null()) return "an unknown place";
  return "line " + std::to_string(mark.line + 1) + ", column " + std::to_string(mark.column + 1);
}

bool any_of(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::ranges::find(words, text) != words.end();
}

template <class Number>
std::optional<Number> whole(std::string_view text, int base) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<Json> integer(std::string_view text) {
  const bool negative = text.starts_with('-');
  std::string digits(text.substr(negative || text.starts_with('+') ? 1 : 0));
  int base = 10;
  for (const auto& [prefix, value] :
       {std::pair<std::string_view, int>{"0x", 16}, {"0o", 8}, {"0b", 2}, {"0", 8}}) {
    if (digits.size() > prefix.size() && digits.starts_with(prefix)) {
      base = value;
      digits.erase(0, prefix.size());
      break;
    }
  }
  if (digits.empty() || digits[0] == '-') return std::nullopt;
  if (negative) {
    const auto value = whole<std::int64_t>("-" + digits, base);
    return value ? std::optional<Json>(*value) : std::nullopt;
  }
  const auto value = whole<std::uint64_t>(digits, base);
  return value ? std::optional<Json>(*value) : std::nullopt;
}

std::optional<Json> floating(std::string_view text) {
  const bool looks_like_number = text.find_first_of("0123456789") != std::string_view::npos &&
                                 text.find_first_not_of("0123456789+-.eE") == std::string_view::npos;
  if (!looks_like_number) return std::nullopt;
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return Json(value);
}

// What a scalar without quotes stands for in the YAML that Kubernetes reads (version 1.1's words).
Json plain_scalar(const YAML::Node& node) {
  const std::string& text = node.Scalar();
  if (any_of(text, {"", "~", "null", "Null", "NULL"})) return nullptr;
  if (any_of(text, {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y"})) return true;
  if (any_of(text, {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N"}))
    return false;
  if (any_of(text, {".inf", ".Inf", ".INF", "+.inf", "-.inf", "-.Inf", "-.INF", ".nan", ".NaN", ".NAN"})) {
    throw Refused{node.Mark(), "\"" + text + "\" is no number that JSON has"};
  }
  if (auto number = integer(text)) return *number;
  if (auto number = floating(text)) return *number;
  return text;
}

class Converter {
 public:
  Json convert(const YAML::Node& node) {
    if (++values_ > kMaxValues) {
      throw Refused{node.Mark(),
                    "more than " + std::to_string(kMaxValues) + " values once aliases are expanded"};
    }
    if (depth_ >= kMaxDepth)
      throw Refused{node.Mark(), "nested deeper than " + std::to_string(kMaxDepth) + " levels"};
    depth_++;
    Json value = convert_inner(node);
    depth_--;
    return value;
  }

 private:
  Json convert_inner(const YAML::Node& node) {
    switch (node.Type()) {
      case YAML::NodeType::Scalar:
        return scalar(node);
      case YAML::NodeType::Sequence: {
        Json list = Json::array();
        for (const auto& item : node) list.push_back(convert(item));
        return list;
      }
      case YAML::NodeType::Map:
        return map(node);
      default:
        return nullptr;
    }
  }

  static Json scalar(const YAML::Node& node) {
    const std::string& tag = node.Tag();
    if (any_of(tag, {"!", "tag:yaml.org,2002:str"})) return node.Scalar();  // quoted, or a block of text
    const bool core = any_of(tag, {"", "?", "tag:yaml.org,2002:int", "tag:yaml.org,2002:float",
                                   "tag:yaml.org,2002:bool", "tag:yaml.org,2002:null"});
    if (!core) throw Refused{node.Mark(), "tag \"" + tag + "\" is not supported"};
    return plain_scalar(node);
  }

  Json map(const YAML::Node& node) {
    Json object = Json::object();
    for (const auto& entry : node) {
      if (!entry.first.IsScalar()) throw Refused{entry.first.Mark(), "a key is no text"};
      const std::string& key = entry.first.Scalar();
      if (key == "<<")
        throw Refused{entry.first.Mark(), "merge keys (\"<<\") are not supported; write the keys out"};
      if (object.contains(key)) throw Refused{entry.first.Mark(), "key \"" + key + "\" is given twice"};
      object[key] = convert(entry.second);
    }
    return object;
  }

  std::size_t values_ = 0;
  std::size_t depth_ = 0;
};

// Where a document begins; looks at nothing else.
class DocumentStart : public YAML::EventHandler {
 public:
  const YAML::Mark& mark() const { return mark_; }

  void OnDocumentStart(const YAML::Mark& mark) override { mark_ = mark; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
  }
  void OnMapEnd() override {}

 private:
  YAML::Mark mark_ = YAML::Mark::null_mark();
};

// The library's parser leaves a token that nothing may begin with (a "," or "}" of its own) where it is, and
// LoadAll() asks it for the document at that place for ever.
void refuse_endless_documents(const std::string& text) {
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  DocumentStart document;
  for (YAML::Mark last = YAML::Mark::null_mark(); parser.HandleNextDocument(document);
       last = document.mark()) {
    if (document.mark().pos == last.pos) throw Refused{last, "no value begins with what stands"};
  }
}

void emit(YAML::Emitter& out, const Json& value) {
  if (value.is_object()) {
    out << (value.empty() ? YAML::Flow : YAML::Block) << YAML::BeginMap;
    for (const auto& [key, member] : value.items()) {
      out << YAML::Key << YAML::DoubleQuoted << key << YAML::Value;
      emit(out, member);
    }
    out << YAML::EndMap;
  } else if (value.is_array()) {
    out << (value.empty() ? YAML::Flow : YAML::Block) << YAML::BeginSeq;
    for (const Json& item : value) emit(out, item);
    out << YAML::EndSeq;
  } else if (value.is_string()) {
    out << YAML::DoubleQuoted << value.get_ref<const std::string&>();
  } else if (value.is_null()) {
    out << YAML::Null;
  } else {
    out << to_text(value);
  }
}

}  // namespace

Result<std::vector<YamlDocument>> parse_yaml(std::string_view text, std::string_view what) {
  const std::string subject(what);
  try {
    std::vector<YamlDocument> documents;
    Converter converter;
    const std::string whole_text(text);
    refuse_endless_documents(whole_text);
    for (const YAML::Node& node : YAML::LoadAll(whole_text)) {
      if (!node.IsDefined() || node.IsNull()) continue;
      documents.push_back({converter.convert(node), static_cast<std::size_t>(node.Mark().line) + 1});
    }
    return documents;
  } catch (const Refused& refused) {
    return fail(Code::kDecode, subject + ": " + refused.problem + " at " + position(refused.mark));
  } catch (const YAML::Exception& error) {
    return fail(Code::kDecode, subject + " is not valid YAML at " + position(error.mark) + ": " + error.msg);
  }
}

std::string to_yaml(const Json& json) {
  YAML::Emitter out;
  emit(out, json);
  return std::string(out.c_str()) + "\n";
}

}  // namespace vmlane
