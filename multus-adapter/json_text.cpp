// SPDX-License-Identifier: Apache-2.0
#include "multus-adapter/json_text.h"

#include <algorithm>
#include <cctype>

#include "core/json.h"

namespace vmlane::multus {
namespace {

// Walks over a valid JSON text; every function leaves the cursor behind what it read.
class Walker {
 public:
  explicit Walker(std::string_view text) : text_(text) {}

  std::size_t at() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos)
      at_++;
    return at_;
  }

  // Moves to the member `step` of the value at the cursor and gives its place, leaving the cursor at its
  // value; no value if there is none.
  std::optional<std::size_t> descend(const std::string& step) {
    const char open = peek();
    if (open != '{' && open != '[') return std::nullopt;
    const char close = open == '{' ? '}' : ']';
    at_++;
    for (std::size_t index = 0; peek() != close && peek() != '\0'; index++) {
      const std::size_t place = at();
      const std::string name = open == '{' ? key() : std::to_string(index);
      if (name == step) return place;
      skip_value();
      if (peek() == ',') at_++;
    }
    return std::nullopt;
  }

 private:
  char peek() { return at() < text_.size() ? text_[at_] : '\0'; }

  std::string_view skip_string() {
    const std::size_t begin = at();
    for (at_++; at_ < text_.size() && text_[at_] != '"'; at_++) {
      if (text_[at_] == '\\') at_++;
    }
    at_ = std::min(at_ + 1, text_.size());
    return text_.substr(begin, at_ - begin);
  }

  // A key and its colon; escapes are resolved by the parser.
  std::string key() {
    const auto name = parse_json(skip_string(), "key");
    if (peek() == ':') at_++;
    return name && name->is_string() ? name->get<std::string>() : std::string();
  }

  void skip_value() {
    std::size_t depth = 0;
    do {
      const char c = peek();
      if (c == '\0') return;
      if (c == '"') {
        skip_string();
        continue;
      }
      if (c == '{' || c == '[') depth++;
      if ((c == '}' || c == ']') && depth > 0) depth--;
      at_++;
      if (depth == 0 && (c == '}' || c == ']')) return;
      // A number or a word: to its end.
      while (depth == 0 && at_ < text_.size() &&
             std::string_view(",]} \t\r\n").find(text_[at_]) == std::string_view::npos)
        at_++;
    } while (depth > 0);
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

std::string folded(std::string_view word) {
  std::string out;
  for (const char c : word) {
    if (c != '-' && c != '_') out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return out;
}

// Edit distance with swaps of neighbours.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> table(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); i++) table[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); j++) table[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); i++) {
    for (std::size_t j = 1; j <= b.size(); j++) {
      table[i][j] = std::min(
          {table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        table[i][j] = std::min(table[i][j], table[i - 2][j - 2] + 1);
      }
    }
  }
  return table[a.size()][b.size()];
}

}  // namespace

std::string position_of(std::string_view json, const std::vector<std::string>& path) {
  Walker walker(json);
  std::size_t place = walker.at();
  for (const std::string& step : path) {
    const auto found = walker.descend(step);
    if (!found) break;
    place = *found;
  }
  // position_in counts the bytes up to the parser's last one, which is one further than the first byte of a
  // value.
  return position_in(json, place + 1);
}

std::optional<std::string_view> likely_meant(std::string_view word, std::span<const std::string_view> known) {
  constexpr std::size_t kLongestWord = 64;
  if (word.size() > kLongestWord) return std::nullopt;
  const std::string mine = folded(word);
  std::optional<std::string_view> best;
  std::size_t best_distance = mine.size() <= 4 ? 2 : 3;  // what would be too far
  for (const std::string_view candidate : known) {
    const std::size_t far = distance(mine, folded(candidate));
    if (far >= best_distance) continue;
    best = candidate;
    best_distance = far;
  }
  return best;
}

std::string did_you_mean(std::string_view word, std::span<const std::string_view> known) {
  const auto meant = likely_meant(word, known);
  return meant ? ", did you mean \"" + std::string(*meant) + "\"?" : std::string();
}

}  // namespace vmlane::multus
