// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

// Compiled once, in json.cpp, instead of in each file that uses it.
extern template class nlohmann::basic_json<>;

namespace vmlane {

using Json = nlohmann::json;

// Decodes one JSON document from outside. Refuses what the library would let through: duplicate keys, more
// than 64 levels of nesting, more than 4 MiB, invalid UTF-8, text after the document. The error
// (Code::kDecode) starts with `what` and has line and column.
Result<Json> parse_json(std::string_view text, std::string_view what);

// One line of JSON; bytes that are no UTF-8 are replaced, so that it never throws.
std::string to_text(const Json& json);

// The string at `key` of an object; empty when there is none, or `object` is none.
std::string text_at(const Json& object, std::string_view key);

// "line 3, column 14" of a byte offset in `text`, both counted from 1.
std::string position_in(std::string_view text, std::size_t offset);

// Reads typed keys of one JSON object. Errors name the key and the value; null counts as absent, as in the Go
// decoders. Remembers which keys were asked for, so that the rest can be reported as unknown.
class ObjectReader {
 public:
  // `what` goes before every key in errors ("ipam."), empty for the top level.
  ObjectReader(const Json& object, std::string what, Code code)
      : object_(object), what_(std::move(what)), code_(code) {}

  // The value of `key`, null when it is absent.
  const Json* find(std::string_view key);
  Result<std::optional<std::string>> string(std::string_view key);
  // The same with an absent one as the empty string.
  Result<std::string> text(std::string_view key);
  Result<std::optional<bool>> boolean(std::string_view key);
  // An integer within [min, max].
  Result<std::optional<std::int64_t>> integer(std::string_view key, std::int64_t min, std::int64_t max);
  Result<std::optional<std::vector<std::string>>> strings(std::string_view key);
  Result<const Json*> object(std::string_view key);  // nullptr when absent
  Result<const Json*> array(std::string_view key);   // nullptr when absent

  // "key "<what><key>" is <value>, expected <expected>" with the reader's code.
  std::unexpected<Error> wrong(std::string_view key, std::string_view expected) const;
  // Keys of the object that nobody asked for.
  std::vector<std::string> unknown() const;
  // Keys that were asked for, whether the object has them or not.
  std::vector<std::string> asked() const { return {asked_.begin(), asked_.end()}; }

 private:
  const Json& object_;
  std::string what_;
  Code code_;
  std::set<std::string, std::less<>> asked_;
};

}  // namespace vmlane
