// SPDX-License-Identifier: Apache-2.0
#include "kubernetes/answer.h"

#include <simdjson.h>

#include <utility>

namespace vmlane::kubernetes {
namespace {

namespace dom = simdjson::dom;

// Much of an object and of no use to anybody here.
constexpr std::string_view kLeftOut = "managedFields";

Json to_json(const dom::element& element) {
  switch (element.type()) {
    case dom::element_type::ARRAY: {
      Json array = Json::array();
      for (const dom::element one : dom::array(element)) array.push_back(to_json(one));
      return array;
    }
    case dom::element_type::OBJECT: {
      Json object = Json::object();
      for (const auto& [key, value] : dom::object(element))
        if (key != kLeftOut) object.emplace(std::string(key), to_json(value));
      return object;
    }
    case dom::element_type::INT64:
      return std::int64_t(element);
    case dom::element_type::UINT64:
      return std::uint64_t(element);
    case dom::element_type::DOUBLE:
      return double(element);
    case dom::element_type::STRING:
      return std::string(std::string_view(element));
    case dom::element_type::BOOL:
      return bool(element);
    case dom::element_type::NULL_VALUE:
      break;
  }
  return nullptr;
}

// The string at `path` ("/metadata/name"), empty when there is none.
std::string string_at(const dom::element& element, std::string_view path) {
  std::string_view value;
  if (element.at_pointer(path).get(value) != simdjson::SUCCESS) return {};
  return std::string(value);
}

std::unexpected<Error> undecodable(std::string_view what, std::string_view kind, std::string_view why) {
  return fail(Code::kDecode, "the API server's " + std::string(what) + " of " + std::string(kind) +
                                 " cannot be read: " + std::string(why));
}

Result<Object> to_object(const dom::element& element, std::string_view kind, std::string_view api_version) {
  Object object;
  const std::string name = string_at(element, "/metadata/name");
  const std::string ns = string_at(element, "/metadata/namespace");
  object.version = string_at(element, "/metadata/resourceVersion");
  if (name.empty() || object.version.empty())
    return undecodable("object", kind, "it has no name or resourceVersion");
  object.key = ns.empty() ? name : ns + "/" + name;
  object.json = to_json(element);
  object.json["kind"] = kind;
  object.json["apiVersion"] = api_version;
  return object;
}

// A decoder keeps its memory for the next text, as much as the longest took.
dom::parser& parser() {
  static dom::parser one;
  return one;
}

}  // namespace

Result<ListPage> decode_list(std::string_view text, std::string_view kind, std::string_view api_version) {
  dom::element document;
  if (const auto error = parser().parse(text.data(), text.size()).get(document))
    return undecodable("list", kind, simdjson::error_message(error));
  ListPage page;
  page.version = string_at(document, "/metadata/resourceVersion");
  page.continuation = string_at(document, "/metadata/continue");
  if (page.version.empty()) return undecodable("list", kind, "it has no resourceVersion");
  const auto items = document["items"];
  if (items.is_null()) return page;  // how Go writes an empty list
  dom::array array;
  if (items.get(array) != simdjson::SUCCESS) return undecodable("list", kind, "it has no items");
  for (const dom::element item : array) {
    VMLANE_ASSIGN(Object object, to_object(item, kind, api_version));
    page.objects.push_back(std::move(object));
  }
  return page;
}

Result<WatchEvent> decode_event(std::string_view line, std::string_view kind, std::string_view api_version) {
  dom::element document;
  if (const auto error = parser().parse(line.data(), line.size()).get(document))
    return undecodable("event", kind, simdjson::error_message(error));
  dom::element element;
  if (document["object"].get(element) != simdjson::SUCCESS)
    return undecodable("event", kind, "it has no object");
  WatchEvent event;
  const std::string type = string_at(document, "/type");
  if (type == "BOOKMARK") {
    event.object.version = string_at(element, "/metadata/resourceVersion");
    return event;
  }
  if (type == "ERROR") {
    event.type = WatchEvent::Type::kError;
    std::int64_t code = 0;
    if (element["code"].get(code) == simdjson::SUCCESS) event.status = static_cast<int>(code);
    event.message = string_at(element, "/message");
    return event;
  }
  if (type != "ADDED" && type != "MODIFIED" && type != "DELETED")
    return undecodable("event", kind, "its type is \"" + type + "\"");
  event.type = type == "DELETED" ? WatchEvent::Type::kGone : WatchEvent::Type::kPut;
  VMLANE_ASSIGN(event.object, to_object(element, kind, api_version));
  return event;
}

}  // namespace vmlane::kubernetes
