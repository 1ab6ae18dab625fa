// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/files.h"
#include "kubernetes/client_config.h"

namespace vmlane::kubernetes {

struct HttpRequest {
  std::string method = "GET";
  std::string target;  // path and query: "/api/v1/pods?limit=500"
  std::string body;
  std::string content_type;           // of the body
  std::chrono::seconds time_limit{};  // for all of it; 0: as long as bytes keep coming
};

// How a request ended.
struct HttpEnd {
  int status = 0;                      // 0: there was no answer
  std::optional<Error> problem;        // no answer, a cut one, or a status of 300 and above
  std::chrono::seconds retry_after{};  // what the server asks for
  bool ok() const { return !problem; }
};

// Requests to one API server, any number at a time, from the loop of the daemon: nothing here waits. With a
// server that speaks HTTP/2 they share one connection. The server's certificate is verified; tokens,
// certificates and authorities in files are read again for each request or connection, so that replacing
// them needs no restart. Errors say what to do about credentials and rights (401, 403).
class HttpClient {
 public:
  using Clock = std::chrono::steady_clock;
  using Id = std::uint64_t;
  // Gets the body of a successful answer as it comes; false ends the request. Must not start or cancel any.
  using OnData = std::function<bool(std::string_view chunk)>;
  // Called when an answer of status 200 to 299 begins, before any of its body: that of a watch may take
  // minutes to come. Must not start or cancel a request.
  using OnAnswer = std::function<void()>;
  // Called from run(), once for each request that was not cancelled.
  using OnEnd = std::function<void(const HttpEnd& end)>;

  static constexpr std::chrono::seconds kConnectLimit{10};
  static constexpr std::chrono::seconds kSilenceLimit{30};  // of a request with no time limit
  static constexpr std::size_t kMaxErrorBody = std::size_t{64} << 10;

  static Result<HttpClient> open(ClientConfig config);
  HttpClient(HttpClient&&) noexcept;
  HttpClient& operator=(HttpClient&&) = delete;
  ~HttpClient();

  Id start(HttpRequest request, OnData on_data, OnEnd on_end, OnAnswer on_answer = {});
  void cancel(Id id);

  // Readable when run() has something to do; it has as well when the time of next() has come.
  int fd() const;
  Clock::time_point next() const;
  void run();

  const ClientConfig& config() const;

 private:
  struct State;
  explicit HttpClient(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;  // libcurl keeps pointers into it
};

}  // namespace vmlane::kubernetes
