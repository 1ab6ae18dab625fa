// SPDX-License-Identifier: Apache-2.0
#include "core/json.h"

#include <algorithm>

template class nlohmann::basic_json<>;

namespace vmlane {
namespace {

// A CNI config with a full IPAM section is a few KiB. The limits keep a hostile or broken caller from costing
// more than a moment.
constexpr std::size_t kMaxDocument = std::size_t{4} << 20;
constexpr std::size_t kMaxDepth = 64;

constexpr std::size_t kMaxShown = 120;

std::string shown(const Json& value) {
  std::string text = to_text(value);
  if (text.size() > kMaxShown) text = text.substr(0, kMaxShown) + "...";
  return text;
}

// Thrown by the parser's callback to stop it; never leaves parse_json.
struct Refused {
  std::string problem;
};

// Watches for what the library accepts: duplicate keys and depth.
class Strictness {
 public:
  bool operator()(int, Json::parse_event_t event, Json& value) {
    using Event = Json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start) {
      keys_.emplace_back();
      if (keys_.size() > kMaxDepth)
        throw Refused{"nested deeper than " + std::to_string(kMaxDepth) + " levels"};
    } else if (event == Event::object_end || event == Event::array_end) {
      keys_.pop_back();
    } else if (event == Event::key) {
      const auto& name = value.get_ref<const std::string&>();
      if (!keys_.back().insert(name).second)
        throw Refused{"key \"" + name.substr(0, kMaxShown) + "\" is given twice"};
    }
    return true;
  }

 private:
  std::vector<std::set<std::string>> keys_;  // one set a level
};

// Counts the bytes that the parser has taken, which it does not tell when a handler stops it.
class CountingIterator {
 public:
  using difference_type = std::ptrdiff_t;
  using value_type = char;
  using pointer = const char*;
  using reference = const char&;
  using iterator_category = std::input_iterator_tag;

  CountingIterator() = default;
  CountingIterator(const char* at, const char** high) : at_(at), high_(high) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    ++at_;
    *high_ = at_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator old = *this;
    ++*this;
    return old;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }

 private:
  const char* at_ = nullptr;
  const char** high_ = nullptr;
};

}  // namespace

std::string text_at(const Json& object, std::string_view key) {
  if (!object.is_object()) return {};
  const auto value = object.find(key);
  return value != object.end() && value->is_string() ? value->get<std::string>() : std::string();
}

std::string position_in(std::string_view text, std::size_t offset) {
  const std::string_view before = text.substr(0, std::min(offset, text.size()));
  const auto line = std::ranges::count(before, '\n') + 1;
  const auto newline = before.rfind('\n');
  const std::size_t column = newline == std::string_view::npos ? before.size() : before.size() - newline - 1;
  return "line " + std::to_string(line) + ", column " + std::to_string(std::max<std::size_t>(column, 1));
}

Result<Json> parse_json(std::string_view text, std::string_view what) {
  const std::string subject(what);
  if (text.size() > kMaxDocument) {
    return fail(Code::kDecode, subject + " is " + std::to_string(text.size()) + " bytes long, the limit is " +
                                   std::to_string(kMaxDocument));
  }
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos)
    return fail(Code::kDecode, subject + " is empty");
  // The library takes a NUL for the end of the text and would not look at what follows.
  if (const auto nul = text.find('\0'); nul != std::string_view::npos)
    return fail(Code::kDecode, subject + " holds a NUL byte at " + position_in(text, nul + 1));
  const char* high = text.data();
  const CountingIterator first(text.data(), &high);
  const CountingIterator last(text.data() + text.size(), &high);
  Strictness strict;
  try {
    return Json::parse(first, last, [&strict](int depth, Json::parse_event_t event, Json& value) {
      return strict(depth, event, value);
    });
  } catch (const Refused& refused) {
    return fail(Code::kDecode, subject + ": " + refused.problem + " at " +
                                   position_in(text, static_cast<std::size_t>(high - text.data())));
  } catch (const Json::parse_error& error) {
    const bool cut = error.byte > text.size();
    return fail(Code::kDecode, subject + " is not valid JSON at " + position_in(text, error.byte) +
                                   (cut ? ": it ends too early" : ""));
  } catch (const Json::exception&) {
    return fail(Code::kDecode, subject + ": a number is out of range at " +
                                   position_in(text, static_cast<std::size_t>(high - text.data())));
  }
}

std::string to_text(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

const Json* ObjectReader::find(std::string_view key) {
  asked_.emplace(key);
  const auto it = object_.find(key);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

std::unexpected<Error> ObjectReader::wrong(std::string_view key, std::string_view expected) const {
  const auto it = object_.find(key);
  const std::string value = it == object_.end() ? "missing" : shown(*it);
  return fail(code_,
              "key \"" + what_ + std::string(key) + "\" is " + value + ", expected " + std::string(expected));
}

Result<std::optional<std::string>> ObjectReader::string(std::string_view key) {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) return wrong(key, "a string");
  return value->get<std::string>();
}

Result<std::string> ObjectReader::text(std::string_view key) {
  VMLANE_ASSIGN(auto value, string(key));
  return std::move(value).value_or("");
}

Result<std::optional<bool>> ObjectReader::boolean(std::string_view key) {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) return wrong(key, "true or false");
  return value->get<bool>();
}

Result<std::optional<std::int64_t>> ObjectReader::integer(std::string_view key, std::int64_t min,
                                                          std::int64_t max) {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  const bool fits = value->is_number_unsigned()
                        ? value->get<std::uint64_t>() <= static_cast<std::uint64_t>(INT64_MAX)
                        : value->is_number_integer();
  if (!fits || value->get<std::int64_t>() < min || value->get<std::int64_t>() > max) {
    return wrong(key, "a whole number from " + std::to_string(min) + " to " + std::to_string(max));
  }
  return value->get<std::int64_t>();
}

Result<std::optional<std::vector<std::string>>> ObjectReader::strings(std::string_view key) {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array() || !std::ranges::all_of(*value, [](const Json& item) { return item.is_string(); })) {
    return wrong(key, "a list of strings");
  }
  return value->get<std::vector<std::string>>();
}

Result<const Json*> ObjectReader::object(std::string_view key) {
  const Json* value = find(key);
  if (value != nullptr && !value->is_object()) return wrong(key, "an object");
  return value;
}

Result<const Json*> ObjectReader::array(std::string_view key) {
  const Json* value = find(key);
  if (value != nullptr && !value->is_array()) return wrong(key, "a list");
  return value;
}

std::vector<std::string> ObjectReader::unknown() const {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object_.items()) {
    if (!asked_.contains(key)) keys.push_back(key);
  }
  return keys;
}

}  // namespace vmlane
