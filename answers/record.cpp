// SPDX-License-Identifier: Apache-2.0
#include "answers/record.h"

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "core/hex.h"

namespace vmlane::answers {
namespace {

constexpr std::size_t kHead = offsetof(vmlane_answers, templates);

// The layout is plain bytes.
const std::uint8_t* bytes_of(const vmlane_answers& answers) {
  return reinterpret_cast<const std::uint8_t*>(&answers);
}

bool read_template(const Json& json, vmlane_template& into) {
  if (!json.is_string()) return false;
  const auto& text = json.get_ref<const std::string&>();
  if (text.size() > 2 * sizeof into.frame) return false;
  into.length = static_cast<std::uint32_t>(text.size() / 2);
  return from_hex(text, std::span(into.frame).first(into.length));
}

}  // namespace

Json answers_to_json(const vmlane_answers& answers) {
  Json json{
      {"size", sizeof answers}, {"head", to_hex({bytes_of(answers), kHead})}, {"templates", Json::array()}};
  for (const vmlane_template& frame : answers.templates)
    json["templates"].push_back(to_hex(std::span(frame.frame).first(frame.length)));
  return json;
}

Result<std::unique_ptr<vmlane_answers>> answers_from_json(const Json& json) {
  auto answers = std::make_unique<vmlane_answers>();
  const auto foreign = [] {
    return fail(Code::kDecode, "the record's guest answers are of another layout",
                "plugin and switch are of different releases");
  };
  if (!json.is_object() || json.value("size", std::size_t{0}) != sizeof *answers) return foreign();
  std::array<std::uint8_t, kHead> head{};
  if (!from_hex(json.value("head", ""), head)) return foreign();
  std::memcpy(answers.get(), head.data(), head.size());
  const auto templates = json.find("templates");
  if (templates == json.end() || !templates->is_array() || templates->size() != VMLANE_TEMPLATES)
    return foreign();
  for (std::size_t i = 0; i < VMLANE_TEMPLATES; i++) {
    if (!read_template((*templates)[i], answers->templates[i])) return foreign();
  }
  return answers;
}

}  // namespace vmlane::answers
