// SPDX-License-Identifier: Apache-2.0
#include "kubernetes/http_client.h"

#include <curl/curl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <utility>
#include <vector>

#include "core/json.h"

namespace vmlane::kubernetes {
namespace {

using std::chrono::milliseconds;

struct FreeEasy {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct FreeMulti {
  void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
};
struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

struct Transfer {
  std::unique_ptr<CURL, FreeEasy> easy;
  std::unique_ptr<curl_slist, FreeList> headers;
  HttpRequest request;
  HttpClient::OnData on_data;
  HttpClient::OnEnd on_end;
  HttpClient::OnAnswer on_answer;
  std::string error_body;
  std::array<char, CURL_ERROR_SIZE> error{};

  int status() const {
    long status = 0;
    curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &status);
    return static_cast<int>(status);
  }
};

std::size_t take_data(char* bytes, std::size_t, std::size_t count, void* context) {
  auto& transfer = *static_cast<Transfer*>(context);
  const std::string_view chunk(bytes, count);
  if (transfer.status() < 300) return transfer.on_data(chunk) ? count : 0;
  const std::size_t room = HttpClient::kMaxErrorBody - transfer.error_body.size();
  transfer.error_body += chunk.substr(0, room);
  return count;
}

// Gets header lines, one at a time, and last an empty one.
std::size_t take_header(char* bytes, std::size_t, std::size_t count, void* context) {
  auto& transfer = *static_cast<Transfer*>(context);
  const bool is_last = std::string_view(bytes, count) == "\r\n";
  if (is_last && transfer.on_answer && transfer.status() >= 200 && transfer.status() < 300)
    std::exchange(transfer.on_answer, {})();
  return count;
}

// A server that vanished without a word is noticed by the kernel, idle watch or not.
int prepare_socket(void*, curl_socket_t fd, curlsocktype) {
  const int on = 1;
  const int idle = 15;
  const int interval = 5;
  const auto limit = static_cast<unsigned>(milliseconds(HttpClient::kSilenceLimit).count());
  ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
  ::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit, sizeof(limit));
  return CURL_SOCKOPT_OK;
}

// The text of a Status object (Kubernetes API conventions), else the start of whatever it is.
std::string text_of(const std::string& body) {
  const Json status = Json::parse(body, nullptr, false);
  if (status.is_object()) {
    const auto message = status.find("message");
    if (message != status.end() && message->is_string()) return message->get<std::string>();
  }
  return body.substr(0, 200);
}

Error status_error(int status, const std::string& body, const ClientConfig& config) {
  const std::string text = text_of(body);
  Error error{Code::kTryAgain,
              "the API server answers " + std::to_string(status) + (text.empty() ? "" : ": " + text), "",
              nullptr};
  if (status == 401)
    error.details = "the token or certificate of " + config.origin + " is not, or no longer, valid";
  if (status == 403) error.details = "grant it by RBAC to the user that the message names";
  return error;
}

Error transport_error(CURLcode code, const Transfer& transfer, const ClientConfig& config) {
  const std::string_view said = transfer.error.data();
  Error error{Code::kTryAgain,
              config.server + ": " + (said.empty() ? curl_easy_strerror(code) : std::string(said)), "",
              nullptr};
  if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
    error.details = "the certificate authority of " + config.origin + " has not signed what the server shows";
  if (code == CURLE_SSL_CERTPROBLEM)
    error.details = "the client certificate or key of " + config.origin + " cannot be used";
  return error;
}

}  // namespace

struct HttpClient::State {
  ClientConfig config;
  Fd epoll;
  std::unique_ptr<CURLM, FreeMulti> multi;
  std::map<Id, std::unique_ptr<Transfer>> transfers;
  Id last = 0;
  Clock::time_point next = Clock::time_point::max();

  static int watch_socket(CURL*, curl_socket_t fd, int what, void* context, void*) {
    auto& state = *static_cast<State*>(context);
    epoll_event event{.events = 0, .data = {.fd = fd}};
    if (what == CURL_POLL_REMOVE) return ::epoll_ctl(state.epoll.get(), EPOLL_CTL_DEL, fd, &event), 0;
    if ((what & CURL_POLL_IN) != 0) event.events |= EPOLLIN;
    if ((what & CURL_POLL_OUT) != 0) event.events |= EPOLLOUT;
    if (::epoll_ctl(state.epoll.get(), EPOLL_CTL_MOD, fd, &event) != 0)
      ::epoll_ctl(state.epoll.get(), EPOLL_CTL_ADD, fd, &event);
    return 0;
  }

  static int set_timer(CURLM*, long wait, void* context) {
    auto& state = *static_cast<State*>(context);
    state.next = wait < 0 ? Clock::time_point::max() : Clock::now() + milliseconds(wait);
    return 0;
  }

  std::string token() const {
    if (config.token_file.empty()) return config.token;
    // Mounted tokens are links that the kubelet replaces.
    std::error_code error;
    const auto target = std::filesystem::canonical(config.token_file, error);
    const auto text = read_file(error ? config.token_file : target);
    if (!text || !*text) return {};
    std::string token = **text;
    while (!token.empty() && (token.back() == '\n' || token.back() == '\r' || token.back() == ' '))
      token.pop_back();
    return token;
  }

  static void set_pem(CURL* easy, const Pem& pem, CURLoption file, CURLoption data) {
    if (!pem.data.empty()) {
      curl_blob blob{.data = const_cast<char*>(pem.data.data()),  // copied, never written to
                     .len = pem.data.size(),
                     .flags = CURL_BLOB_COPY};
      curl_easy_setopt(easy, data, &blob);
    } else if (!pem.file.empty()) {
      curl_easy_setopt(easy, file, pem.file.c_str());
    }
  }

  void set_up(Transfer& transfer) const {
    CURL* easy = transfer.easy.get();
    const HttpRequest& request = transfer.request;
    curl_easy_setopt(easy, CURLOPT_URL, (config.server + request.target).c_str());
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https,http");
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "vmlane");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);  // rather a stream of a connection that is being made
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, static_cast<long>(kConnectLimit.count()));
    curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, prepare_socket);
    if (request.time_limit.count() > 0) {
      curl_easy_setopt(easy, CURLOPT_TIMEOUT, static_cast<long>(request.time_limit.count()));
    } else {
      curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
      curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, static_cast<long>(kSilenceLimit.count()));
    }
    set_pem(easy, config.authority, CURLOPT_CAINFO, CURLOPT_CAINFO_BLOB);
    set_pem(easy, config.certificate, CURLOPT_SSLCERT, CURLOPT_SSLCERT_BLOB);
    set_pem(easy, config.key, CURLOPT_SSLKEY, CURLOPT_SSLKEY_BLOB);
    curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT,
                     0L);  // a replaced authority counts from the next connection on
    set_headers(transfer);
    if (request.method != "GET") {
      curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
      curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
      curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request.body.data());
    }
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer.error.data());
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, &transfer);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_data);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
  }

  void set_headers(Transfer& transfer) const {
    std::vector<std::string> lines = {"Accept: application/json", "Expect:"};
    if (const std::string bearer = token(); !bearer.empty())
      lines.push_back("Authorization: Bearer " + bearer);
    if (!transfer.request.content_type.empty())
      lines.push_back("Content-Type: " + transfer.request.content_type);
    curl_slist* list = nullptr;
    for (const std::string& line : lines) list = curl_slist_append(list, line.c_str());
    transfer.headers.reset(list);
    curl_easy_setopt(transfer.easy.get(), CURLOPT_HTTPHEADER, list);
  }

  // Hands out how requests ended; each may start others.
  void finish() {
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi.get(), &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      void* context = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &context);
      const CURLcode code = message->data.result;
      const auto found = transfers.find(reinterpret_cast<std::uintptr_t>(context));
      if (found == transfers.end()) continue;
      const std::unique_ptr<Transfer> transfer = std::move(found->second);
      transfers.erase(found);
      curl_multi_remove_handle(multi.get(), transfer->easy.get());
      transfer->on_end(end_of(*transfer, code));
    }
  }

  HttpEnd end_of(const Transfer& transfer, CURLcode code) const {
    HttpEnd end{.status = transfer.status()};
    curl_off_t retry_after = 0;
    curl_easy_getinfo(transfer.easy.get(), CURLINFO_RETRY_AFTER, &retry_after);
    end.retry_after = std::chrono::seconds(retry_after);
    if (end.status >= 300)
      end.problem = status_error(end.status, transfer.error_body, config);
    else if (code != CURLE_OK)
      end.problem = transport_error(code, transfer, config);
    return end;
  }
};

Result<HttpClient> HttpClient::open(ClientConfig config) {
  static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (started != CURLE_OK) return fail(Code::kInternal, "libcurl does not start");
  auto state = std::make_unique<State>();
  state->config = std::move(config);
  state->epoll = Fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!state->epoll) return fail(io_error("cannot wait for the API server", errno));
  state->multi.reset(curl_multi_init());
  CURLM* multi = state->multi.get();
  if (multi == nullptr) return fail(Code::kInternal, "libcurl does not start");
  curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, State::watch_socket);
  curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, state.get());
  curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, State::set_timer);
  curl_multi_setopt(multi, CURLMOPT_TIMERDATA, state.get());
  curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
  return HttpClient(std::move(state));
}

HttpClient::HttpClient(std::unique_ptr<State> state) : state_(std::move(state)) {}
HttpClient::HttpClient(HttpClient&&) noexcept = default;

HttpClient::~HttpClient() {
  if (!state_) return;
  for (const auto& [id, transfer] : state_->transfers)
    curl_multi_remove_handle(state_->multi.get(), transfer->easy.get());
}

HttpClient::Id HttpClient::start(HttpRequest request, OnData on_data, OnEnd on_end, OnAnswer on_answer) {
  const Id id = ++state_->last;
  auto transfer = std::make_unique<Transfer>();
  transfer->easy.reset(curl_easy_init());
  transfer->request = std::move(request);
  transfer->on_data = std::move(on_data);
  transfer->on_end = std::move(on_end);
  transfer->on_answer = std::move(on_answer);
  state_->set_up(*transfer);
  curl_easy_setopt(transfer->easy.get(), CURLOPT_PRIVATE, reinterpret_cast<void*>(id));
  curl_multi_add_handle(state_->multi.get(), transfer->easy.get());
  state_->transfers.emplace(id, std::move(transfer));
  return id;
}

void HttpClient::cancel(Id id) {
  const auto found = state_->transfers.find(id);
  if (found == state_->transfers.end()) return;
  curl_multi_remove_handle(state_->multi.get(), found->second->easy.get());
  state_->transfers.erase(found);
}

int HttpClient::fd() const {
  return state_->epoll.get();
}

HttpClient::Clock::time_point HttpClient::next() const {
  return state_->next;
}

void HttpClient::run() {
  int running = 0;
  std::array<epoll_event, 16> events{};
  for (;;) {
    const int count = ::epoll_wait(state_->epoll.get(), events.data(), static_cast<int>(events.size()), 0);
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events.at(static_cast<std::size_t>(i));
      int what = 0;
      if ((event.events & (EPOLLIN | EPOLLHUP)) != 0) what |= CURL_CSELECT_IN;
      if ((event.events & EPOLLOUT) != 0) what |= CURL_CSELECT_OUT;
      if ((event.events & EPOLLERR) != 0) what |= CURL_CSELECT_ERR;
      curl_multi_socket_action(state_->multi.get(), event.data.fd, what, &running);
    }
    if (count < static_cast<int>(events.size())) break;
  }
  if (Clock::now() >= state_->next) {
    state_->next = Clock::time_point::max();
    curl_multi_socket_action(state_->multi.get(), CURL_SOCKET_TIMEOUT, 0, &running);
  }
  state_->finish();
}

const ClientConfig& HttpClient::config() const {
  return state_->config;
}

}  // namespace vmlane::kubernetes
