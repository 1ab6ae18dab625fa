// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"

// JSON-RPC 2.0 between our programs, over a Unix stream socket: one message a line. An error of ours travels
// in the error object with its code and details in `data`, so that the caller has it as it was.
namespace vmlane::json_rpc {

// Codes of the specification, 5.1.
enum class Fault : int {
  kParse = -32700,
  kInvalidRequest = -32600,
  kNoMethod = -32601,
  kInvalidParams = -32602,
  kServer = -32000,
};

// A line that asks for something. `id` is null for a notification, which gets no response.
struct Request {
  Json id;
  bool notification = false;
  std::string method;
  Json params = Json::object();
};

// One line each, with its newline.
std::string request_line(const Request& request);
std::string result_line(const Json& id, const Json& result);
std::string error_line(const Json& id, Fault fault, const Error& error);
std::string notification_line(const std::string& method, const Json& params);

// A request out of decoded JSON; what is none is Code::kDecode saying why.
Result<Request> parse_request(const Json& json);

// A connection to a program that serves these messages. Errors: Code::kNotAvailable when nobody accepts
// connections there, Code::kTryAgain when no answer comes within `timeout`.
class Client {
 public:
  static Result<Client> connect(const std::filesystem::path& socket,
                                std::chrono::milliseconds timeout = std::chrono::seconds(10));

  // The result of one call, or the error that the other side gave.
  Result<Json> call(const std::string& method, const Json& params = Json::object());
  // The next notification that the other side sends; no value when none comes within `wait`.
  Result<std::optional<Json>> next_notification(std::chrono::milliseconds wait);

 private:
  Client(Fd fd, std::chrono::milliseconds timeout) : fd_(std::move(fd)), timeout_(timeout) {}
  Result<> send(std::string_view line) const;
  // No value when the time is over.
  Result<std::optional<Json>> receive(std::chrono::milliseconds wait);

  Fd fd_;
  std::chrono::milliseconds timeout_;
  std::string buffer_;
  std::uint64_t last_id_ = 0;
};

}  // namespace vmlane::json_rpc
