// SPDX-License-Identifier: Apache-2.0
#include "tests/support/api_server.h"

#include <httplib.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>

namespace vmlane::test {
namespace {

std::string key_of(const Json& object) {
  const Json& metadata = object.at("metadata");
  const std::string ns = metadata.value("namespace", std::string());
  return (ns.empty() ? "" : ns + "/") + metadata.at("name").get<std::string>();
}

Json status(int code, const std::string& message) {
  return {
      {"kind", "Status"}, {"apiVersion", "v1"}, {"status", "Failure"}, {"message", message}, {"code", code}};
}

}  // namespace

struct ApiServer::State {
  struct Event {
    long version = 0;
    std::string path;
    std::string type;
    Json object;
  };

  std::unique_ptr<httplib::Server> server;
  std::thread thread;
  int port = 0;
  bool tls = false;

  mutable std::mutex mutex;
  std::condition_variable happened;
  bool stopping = false;
  bool ready = true;
  std::string token;
  long version = 100;
  long oldest = 0;      // watches from before it are told 410
  long generation = 0;  // of watches: those of another end
  std::set<std::string> resources;
  std::map<std::string, std::map<std::string, Json>> objects;  // by path, key
  std::deque<Event> events;
  std::map<std::string, std::deque<ApiFault>> faults;
  std::map<std::string, int> lists;
  std::map<std::string, int> watches;
  int patches = 0;

  // The fault that this request is to meet, if any.
  std::optional<ApiFault> take_fault(const std::string& path, bool watch) {
    auto& queue = faults[path];
    const auto next = std::ranges::find(queue, watch, &ApiFault::watches);
    if (next == queue.end()) return std::nullopt;
    const ApiFault fault = *next;
    queue.erase(next);
    return fault;
  }

  static void answer(httplib::Response& response, int code, const Json& body) {
    response.status = code;
    response.set_content(body.dump(), "application/json");
  }

  void handle(const httplib::Request& request, httplib::Response& response) {
    std::unique_lock lock(mutex);
    if (!token.empty() && request.get_header_value("Authorization") != "Bearer " + token)
      return answer(response, 401, status(401, "Unauthorized"));
    if (request.path == "/readyz") return answer(response, ready ? 200 : 500, "ok");
    const bool watch = request.has_param("watch");
    ++(watch ? watches : lists)[request.path];
    const auto fault = take_fault(request.path, watch);
    if (fault) return misbehave(*fault, response);
    if (!resources.contains(request.path))
      return answer(response, 404, status(404, "the server could not find it"));
    if (watch)
      serve_watch(request, response);
    else
      serve_list(request, response);
  }

  static void misbehave(const ApiFault& fault, httplib::Response& response) {
    switch (fault.kind) {
      case ApiFault::Kind::kStatus:
        if (fault.retry_after > 0) response.set_header("Retry-After", std::to_string(fault.retry_after));
        return answer(response, fault.status, status(fault.status, "ordered by the test"));
      case ApiFault::Kind::kCut:
        response.set_content_provider(1000, "application/json", [](size_t, size_t, httplib::DataSink& sink) {
          sink.write("{\"meta", 6);
          return false;
        });
        return;
      case ApiFault::Kind::kGarbage:
        response.set_content("}{ no JSON\n", "application/json");
        return;
      case ApiFault::Kind::kHuge:
        response.set_content(std::string(20U << 20U, 'x'), "application/json");
        return;
    }
  }

  void serve_list(const httplib::Request& request, httplib::Response& response) {
    const auto& all = objects[request.path];
    const std::size_t limit =
        request.has_param("limit") ? std::stoul(request.get_param_value("limit")) : all.size();
    // A continuation is the version of its first page and where to go on.
    long first = version;
    std::string from;
    if (request.has_param("continue")) {
      const std::string continuation = request.get_param_value("continue");
      first = std::stol(continuation);
      from = continuation.substr(continuation.find(' ') + 1);
      if (first < oldest)
        return answer(response, 410, status(410, "The provided continue parameter is too old"));
    }
    Json items = Json::array();
    std::string next;
    for (auto it = all.lower_bound(from); it != all.end(); ++it) {
      if (items.size() == limit) {
        next = std::to_string(first) + " " + it->first;
        break;
      }
      Json item = it->second;  // as the API has it, without kind and version
      item.erase("kind");
      item.erase("apiVersion");
      items.push_back(std::move(item));
    }
    answer(response, 200,
           {{"kind", "List"},
            {"metadata", {{"resourceVersion", std::to_string(first)}, {"continue", next}}},
            {"items", items.empty() ? Json(nullptr) : items}});
  }

  // The lock is held.
  void put(const std::string& path, Json object) {
    object["metadata"]["resourceVersion"] = std::to_string(++version);
    const std::string key = key_of(object);
    auto& all = objects[path];
    const std::string type = all.contains(key) ? "MODIFIED" : "ADDED";
    all[key] = object;
    events.push_back({version, path, type, std::move(object)});
    happened.notify_all();
  }

  // A merge patch of a pod by its status, as far as the API server lets it change the pod.
  void patch(const httplib::Request& request, httplib::Response& response) {
    const std::lock_guard lock(mutex);
    if (!token.empty() && request.get_header_value("Authorization") != "Bearer " + token)
      return answer(response, 401, status(401, "Unauthorized"));
    ++patches;
    if (const auto fault = take_fault(request.path, false)) return misbehave(*fault, response);
    if (request.get_header_value("Content-Type") != "application/merge-patch+json")
      return answer(response, 415, status(415, "unsupported media type"));
    const std::string key = std::string(request.matches[1]) + "/" + std::string(request.matches[2]);
    auto& pods = objects["/api/v1/pods"];
    const auto found = pods.find(key);
    if (found == pods.end()) return answer(response, 404, status(404, "pods not found"));
    const Json patch = Json::parse(request.body);
    if (patch["metadata"].value("uid", "") != found->second["metadata"].value("uid", ""))
      return answer(response, 409, status(409, "Precondition failed: UID in precondition"));
    Json pod = found->second;
    pod["metadata"]["annotations"].merge_patch(patch["metadata"].value("annotations", Json::object()));
    put("/api/v1/pods", pod);
    answer(response, 200, pod);
  }

  void serve_watch(const httplib::Request& request, httplib::Response& response) {
    auto seen = std::make_shared<long>(std::stol(request.get_param_value("resourceVersion")));
    if (*seen < oldest) {
      // Some servers say it in an event, some by the status.
      response.set_content(
          Json({{"type", "ERROR"}, {"object", status(410, "too old resource version")}}).dump() + "\n",
          "application/json");
      return;
    }
    response.set_chunked_content_provider(
        "application/json",
        [this, seen, path = request.path, of = generation](size_t, httplib::DataSink& sink) {
          std::unique_lock lock(mutex);
          happened.wait_for(lock, std::chrono::milliseconds(20));
          if (stopping || of != generation) {
            sink.done();
            return true;
          }
          std::string lines;
          for (const Event& event : events)
            if (event.version > *seen && event.path == path)
              lines += Json({{"type", event.type}, {"object", event.object}}).dump() + "\n";
          if (*seen != version && lines.empty())
            lines = Json({{"type", "BOOKMARK"},
                          {"object", {{"metadata", {{"resourceVersion", std::to_string(version)}}}}}})
                        .dump() +
                    "\n";
          *seen = version;
          return lines.empty() || sink.write(lines.data(), lines.size());
        });
  }
};

ApiServer::ApiServer(std::vector<std::string> resources, std::optional<TlsFiles> tls, int port)
    : state_(std::make_unique<State>()) {
  state_->resources.insert(resources.begin(), resources.end());
  state_->tls = tls.has_value();
  if (tls)
    state_->server = std::make_unique<httplib::SSLServer>(tls->certificate.c_str(), tls->key.c_str());
  else
    state_->server = std::make_unique<httplib::Server>();
  httplib::Server& server = *state_->server;
  server.new_task_queue = [] { return new httplib::ThreadPool(24); };  // a watch takes a thread
  server.set_keep_alive_timeout(1);                                    // seconds; its threads end only then
  server.Get(".*", [state = state_.get()](const httplib::Request& request, httplib::Response& response) {
    state->handle(request, response);
  });
  server.Patch("/api/v1/namespaces/([^/]+)/pods/([^/]+)/status",
               [state = state_.get()](const httplib::Request& request, httplib::Response& response) {
                 state->patch(request, response);
               });
  if (port == 0)
    state_->port = server.bind_to_any_port("127.0.0.1");
  else if (server.bind_to_port("127.0.0.1", port))
    state_->port = port;
  state_->thread = std::thread([&server] { server.listen_after_bind(); });
  while (!server.is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

ApiServer::~ApiServer() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->happened.notify_all();
  state_->server->stop();
  state_->thread.join();
}

std::string ApiServer::url() const {
  return (state_->tls ? "https://127.0.0.1:" : "http://127.0.0.1:") + std::to_string(state_->port);
}

int ApiServer::port() const {
  return state_->port;
}

void ApiServer::add_resource(const std::string& path) {
  const std::lock_guard lock(state_->mutex);
  state_->resources.insert(path);
}

void ApiServer::remove_resource(const std::string& path) {
  const std::lock_guard lock(state_->mutex);
  state_->resources.erase(path);
  state_->objects.erase(path);
  ++state_->generation;
}

void ApiServer::put(const std::string& path, Json object) {
  const std::lock_guard lock(state_->mutex);
  state_->put(path, std::move(object));
}

Json ApiServer::get(const std::string& path, const std::string& key) const {
  const std::lock_guard lock(state_->mutex);
  const auto& all = state_->objects[path];
  const auto found = all.find(key);
  return found == all.end() ? Json() : found->second;
}

int ApiServer::patches() const {
  const std::lock_guard lock(state_->mutex);
  return state_->patches;
}

void ApiServer::remove(const std::string& path, const std::string& key) {
  const std::lock_guard lock(state_->mutex);
  Json object = state_->objects[path].at(key);
  object["metadata"]["resourceVersion"] = std::to_string(++state_->version);
  state_->objects[path].erase(key);
  state_->events.push_back({state_->version, path, "DELETED", std::move(object)});
  state_->happened.notify_all();
}

void ApiServer::forget_history() {
  const std::lock_guard lock(state_->mutex);
  state_->oldest = ++state_->version;
  state_->events.clear();
  ++state_->generation;
}

void ApiServer::end_watches() {
  const std::lock_guard lock(state_->mutex);
  ++state_->generation;
}

void ApiServer::set_ready(bool ready) {
  const std::lock_guard lock(state_->mutex);
  state_->ready = ready;
}

void ApiServer::fail(const std::string& path, const ApiFault& fault, int count) {
  const std::lock_guard lock(state_->mutex);
  for (int i = 0; i < count; ++i) state_->faults[path].push_back(fault);
}

void ApiServer::demand_token(const std::string& token) {
  const std::lock_guard lock(state_->mutex);
  state_->token = token;
}

int ApiServer::lists(const std::string& path) const {
  const std::lock_guard lock(state_->mutex);
  return state_->lists[path];
}

int ApiServer::watches(const std::string& path) const {
  const std::lock_guard lock(state_->mutex);
  return state_->watches[path];
}

}  // namespace vmlane::test
