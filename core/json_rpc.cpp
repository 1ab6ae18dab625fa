// SPDX-License-Identifier: Apache-2.0
#include "core/json_rpc.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "core/names.h"

namespace vmlane::json_rpc {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// What one message of a program of ours may have.
constexpr std::size_t kMaxLine = std::size_t{64} << 20;

std::string line_of(const Json& json) {
  return to_text(json) + "\n";
}

Error error_of(const Json& json) {
  Error error{Code::kInternal, "the other side gave an error that is no error object", to_text(json),
              nullptr};
  if (!json.is_object()) return error;
  const Json message = json.value("message", Json());
  if (!message.is_string()) return error;
  error = {Code::kInternal, message.get<std::string>(), {}, nullptr};
  const Json data = json.value("data", Json());
  if (!data.is_object()) return error;
  if (const Json code = data.value("code", Json()); code.is_number_unsigned())
    error.code = static_cast<Code>(code.get<unsigned>());
  if (const Json details = data.value("details", Json()); details.is_string())
    error.details = details.get<std::string>();
  return error;
}

}  // namespace

std::string request_line(const Request& request) {
  Json json = {{"jsonrpc", "2.0"}, {"method", request.method}, {"params", request.params}};
  if (!request.notification) json["id"] = request.id;
  return line_of(json);
}

std::string result_line(const Json& id, const Json& result) {
  return line_of({{"jsonrpc", "2.0"}, {"id", id}, {"result", result}});
}

std::string error_line(const Json& id, Fault fault, const Error& error) {
  std::string details = error.details;
  if (error.cause) details += (details.empty() ? "" : "; ") + error.cause->text();
  return line_of({{"jsonrpc", "2.0"},
                  {"id", id},
                  {"error",
                   {{"code", static_cast<int>(fault)},
                    {"message", error.message},
                    {"data", {{"code", static_cast<unsigned>(error.code)}, {"details", details}}}}}});
}

std::string notification_line(const std::string& method, const Json& params) {
  return request_line({.id = {}, .notification = true, .method = method, .params = params});
}

Result<Request> parse_request(const Json& json) {
  if (!json.is_object()) return fail(Code::kDecode, "a request is a JSON object");
  if (json.value("jsonrpc", Json()) != "2.0")
    return fail(Code::kDecode, "key \"jsonrpc\" of the request is not \"2.0\"");
  Request request;
  const Json method = json.value("method", Json());
  if (!method.is_string()) return fail(Code::kDecode, "key \"method\" of the request is no string");
  request.method = method.get<std::string>();
  request.notification = !json.contains("id");
  request.id = json.value("id", Json());
  if (!request.id.is_null() && !request.id.is_string() && !request.id.is_number())
    return fail(Code::kDecode, "key \"id\" of the request is no string or number");
  request.params = json.value("params", Json::object());
  if (!request.params.is_object()) return fail(Code::kDecode, "key \"params\" of the request is no object");
  return request;
}

Result<Client> Client::connect(const std::filesystem::path& socket, milliseconds timeout) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = socket.string();
  if (path.size() > names::kMaxSocketPath)
    return fail(Code::kInvalidConfig, "socket path " + path + " is longer than 107 bytes");
  std::ranges::copy(path, address.sun_path);
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail(io_error("cannot make a socket", errno));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    const int reason = errno;
    Error error = io_error("cannot connect to " + path, reason);
    if (reason == ENOENT || reason == ECONNREFUSED) error.code = Code::kNotAvailable;
    return fail(std::move(error));
  }
  return Client(std::move(fd), timeout);
}

Result<Json> Client::call(const std::string& method, const Json& params) {
  const Request request{.id = ++last_id_, .method = method, .params = params};
  VMLANE_TRY(send(request_line(request)));
  const auto deadline = Clock::now() + timeout_;
  for (;;) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
    VMLANE_ASSIGN(const auto answer, receive(std::max(left, milliseconds(0))));
    if (!answer) return fail(Code::kTryAgain, "no answer to " + method + " came in time");
    if (answer->value("id", Json()) != request.id) continue;  // a notification
    if (answer->contains("error")) return fail(error_of((*answer)["error"]));
    return answer->value("result", Json());
  }
}

Result<std::optional<Json>> Client::next_notification(milliseconds wait) {
  const auto deadline = Clock::now() + wait;
  for (;;) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
    VMLANE_ASSIGN(auto message, receive(std::max(left, milliseconds(0))));
    if (!message || message->contains("method")) return message;
  }
}

Result<> Client::send(std::string_view line) const {
  while (!line.empty()) {
    const ssize_t sent = ::send(fd_.get(), line.data(), line.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return fail(io_error("cannot send a request", errno));
    line.remove_prefix(static_cast<std::size_t>(sent));
  }
  return {};
}

Result<std::optional<Json>> Client::receive(milliseconds wait) {
  const auto deadline = Clock::now() + wait;
  for (;;) {
    if (const auto end = buffer_.find('\n'); end != std::string::npos) {
      const std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      Json message = Json::parse(line, nullptr, false);  // ours may be longer than parse_json takes
      if (!message.is_object()) return fail(Code::kDecode, "the other side sent no JSON object");
      return std::optional<Json>(std::move(message));
    }
    if (buffer_.size() > kMaxLine) return fail(Code::kDecode, "the other side sent a line without end");
    pollfd waiting{.fd = fd_.get(), .events = POLLIN, .revents = 0};
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now()).count();
    const int ready = ::poll(&waiting, 1, static_cast<int>(std::max<std::int64_t>(left, 0)));
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return fail(io_error("cannot wait for an answer", errno));
    if (ready == 0) return std::nullopt;
    std::array<char, 65536> bytes{};
    const ssize_t got = ::recv(fd_.get(), bytes.data(), bytes.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(io_error("cannot read an answer", errno));
    if (got == 0) return fail(Code::kNotAvailable, "the other side closed the connection");
    buffer_.append(bytes.data(), static_cast<std::size_t>(got));
  }
}

}  // namespace vmlane::json_rpc
