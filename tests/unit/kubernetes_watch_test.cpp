// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <poll.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <set>

#include "kubernetes/watch.h"
#include "tests/support/api_server.h"
#include "tests/support/host.h"
#include "tests/support/result.h"

namespace vmlane::kubernetes {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::ApiFault;
using test::ApiServer;

constexpr const char* kPods = "/api/v1/pods";

Json pod(const std::string& name, const std::string& label = "a") {
  return {{"kind", "Pod"},
          {"apiVersion", "v1"},
          {"metadata",
           {{"namespace", "blue"},
            {"name", name},
            {"labels", {{"app", label}}},
            {"managedFields", {{{"manager", "x"}}}}}}};
}

// A watch of pods and what it has told so far.
class PodWatch {
 public:
  explicit PodWatch(ClientConfig config, Resource resource = {"Pod", "pods", {"v1"}})
      : client_(HttpClient::open(std::move(config)).value()), watch_(client_, std::move(resource), 1) {}
  explicit PodWatch(const ApiServer& server)
      : PodWatch(ClientConfig{.server = server.url(), .origin = "the test"}) {}

  // Runs until `done`, for ten seconds at most.
  testing::AssertionResult until(const std::function<bool()>& done, milliseconds limit = seconds(10)) {
    const auto end = Watch::Clock::now() + limit;
    while (!done()) {
      if (Watch::Clock::now() > end)
        return testing::AssertionFailure()
               << "still not; problem: " << (watch_.problem() ? watch_.problem()->text() : "none");
      run();
    }
    return testing::AssertionSuccess();
  }
  void run() {
    pollfd fd{.fd = client_.fd(), .events = POLLIN, .revents = 0};
    ::poll(&fd, 1, 5);
    client_.run();
    watch_.run(Watch::Clock::now());
    Watch::Changes changes = watch_.take_changes();
    for (const std::string& key : changes.gone) pods_.erase(key);
    for (Object& put : changes.put) pods_[put.key] = std::move(put.json);
    told_ += changes.gone.size() + changes.put.size();
  }

  std::set<std::string> names() const {
    std::set<std::string> names;
    for (const auto& [key, object] : pods_) names.insert(key);
    return names;
  }
  std::string label(const std::string& key) const { return pods_.at(key)["metadata"]["labels"]["app"]; }
  const Json& object(const std::string& key) const { return pods_.at(key); }
  std::string problem() const { return watch_.problem() ? watch_.problem()->text() : ""; }
  bool watches() const { return watch_.state() == Watch::State::kWatching; }
  const Watch& watch() const { return watch_; }
  std::size_t told() const { return told_; }

 private:
  HttpClient client_;
  Watch watch_;
  std::map<std::string, Json> pods_;
  std::size_t told_ = 0;
};

using Names = std::set<std::string>;

TEST(KubernetesWatch, KnowsWhatIsThereAndFollowsWhatHappens) {
  ApiServer server({kPods});
  server.put(kPods, pod("one"));
  PodWatch watch(server);
  ASSERT_TRUE(watch.until([&] { return watch.names() == Names{"blue/one"}; }));
  EXPECT_EQ(watch.object("blue/one").at("kind"), "Pod");
  EXPECT_EQ(watch.object("blue/one").at("apiVersion"), "v1");
  EXPECT_FALSE(watch.object("blue/one").at("metadata").contains("managedFields"));
  server.put(kPods, pod("two"));
  server.put(kPods, pod("one", "b"));
  ASSERT_TRUE(watch.until([&] { return watch.names().size() == 2 && watch.label("blue/one") == "b"; }));
  server.remove(kPods, "blue/one");
  ASSERT_TRUE(watch.until([&] { return watch.names() == Names{"blue/two"}; }));
  EXPECT_EQ(server.lists(kPods), 1);
}

TEST(KubernetesWatch, ReadsALongListInPages) {
  ApiServer server({kPods});
  for (int i = 0; i < 1201; ++i) server.put(kPods, pod("p" + std::to_string(i)));
  PodWatch watch(server);
  ASSERT_TRUE(watch.until([&] { return watch.watch().synced(); }));
  watch.run();
  EXPECT_EQ(watch.names().size(), 1201U);
  EXPECT_EQ(server.lists(kPods), 3);
}

TEST(KubernetesWatch, AListCountsOnlyWhenAllOfItIsThere) {
  ApiServer server({kPods});
  for (int i = 0; i < 600; ++i) server.put(kPods, pod("p" + std::to_string(i)));
  PodWatch watch(server);
  watch.until([&] { return server.lists(kPods) == 1; });
  server.fail(kPods, {.status = 500}, 2);  // the second page
  ASSERT_TRUE(watch.until([&] { return !watch.problem().empty() || watch.watch().synced(); }));
  if (!watch.watch().synced()) {
    EXPECT_TRUE(watch.names().empty());
  }
  ASSERT_TRUE(watch.until([&] { return watch.watch().synced(); }));
  watch.run();
  EXPECT_EQ(watch.names().size(), 600U);
}

// Whatever the server does instead of answering, what is known stays, the problem is told, and it heals.
TEST(KubernetesWatch, KeepsWhatItKnowsWhileTheServerMisbehaves) {
  struct Case {
    std::string name;
    ApiFault fault;
    std::string told;
  };
  const std::vector<Case> cases = {
      {"an error", {.status = 500}, "500"},
      {"no service", {.status = 503}, "503"},
      {"too many requests", {.status = 429, .retry_after = 1}, "429"},
      {"no right", {.status = 403}, "RBAC"},
      {"no more credentials", {.status = 401}, "the test"},
      {"cut", {.kind = ApiFault::Kind::kCut}, "pods"},
      {"garbage", {.kind = ApiFault::Kind::kGarbage}, "cannot be read"},
      {"huge", {.kind = ApiFault::Kind::kHuge}, "Pod"},
  };
  ApiServer server({kPods});
  server.put(kPods, pod("first"));
  PodWatch watch(server);
  int count = 0;
  for (const Case& one : cases) {
    for (const bool watches : {true, false}) {
      SCOPED_TRACE(one.name + (watches ? " for a watch" : " for a list"));
      const int watches_before = server.watches(kPods);
      server.end_watches();
      ASSERT_TRUE(watch.until([&] { return watch.watches() && server.watches(kPods) > watches_before; }));
      ApiFault fault = one.fault;
      fault.watches = watches;
      server.fail(kPods, fault);
      if (watches)
        server.end_watches();
      else
        server.forget_history();
      const std::string name = "p" + std::to_string(++count);
      server.put(kPods, pod(name));
      ASSERT_TRUE(watch.until([&] { return !watch.problem().empty(); }));
      EXPECT_NE(watch.problem().find(one.told), std::string::npos) << watch.problem();
      EXPECT_EQ(watch.names().count("blue/first"), 1U);
      ASSERT_TRUE(
          watch.until([&] { return watch.names().contains("blue/" + name) && watch.problem().empty(); }));
    }
  }
  EXPECT_EQ(watch.names().size(), 1 + 2 * cases.size());
}

TEST(KubernetesWatch, WaitsAsLongAsTheServerAsks) {
  ApiServer server({kPods});
  server.fail(kPods, {.status = 429, .retry_after = 2});
  PodWatch watch(server);
  const auto begin = Watch::Clock::now();
  ASSERT_TRUE(watch.until([&] { return watch.watch().synced(); }));
  EXPECT_GE(Watch::Clock::now() - begin, seconds(2));
}

TEST(KubernetesWatch, ListsAgainWhatTheServerHasForgotten) {
  ApiServer server({kPods});
  for (const char* name : {"one", "two", "three"}) server.put(kPods, pod(name));
  PodWatch watch(server);
  ASSERT_TRUE(watch.until([&] { return watch.watches(); }));
  const std::size_t told = watch.told();
  // Nobody watches while these happen.
  server.forget_history();
  server.remove(kPods, "blue/one");
  server.put(kPods, pod("two", "b"));
  server.forget_history();
  ASSERT_TRUE(watch.until([&] { return watch.names() == Names{"blue/two", "blue/three"}; }));
  EXPECT_EQ(watch.label("blue/two"), "b");
  EXPECT_EQ(watch.told(), told + 2);  // and nothing about the third
  EXPECT_GE(server.lists(kPods), 2);
}

TEST(KubernetesWatch, OutlivesTheServer) {
  auto server = std::make_unique<ApiServer>(std::vector<std::string>{kPods});
  server->put(kPods, pod("one"));
  const int port = server->port();
  PodWatch watch(*server);
  ASSERT_TRUE(watch.until([&] { return watch.watches(); }));
  server.reset();
  ASSERT_TRUE(watch.until([&] { return !watch.problem().empty(); }));
  EXPECT_EQ(watch.names(), Names{"blue/one"});
  server = std::make_unique<ApiServer>(std::vector<std::string>{kPods}, std::nullopt, port);
  server->forget_history();  // it has another history
  server->forget_history();
  server->put(kPods, pod("two"));
  ASSERT_TRUE(watch.until([&] { return watch.names() == Names{"blue/two"}; }));
  EXPECT_EQ(watch.problem(), "");
}

TEST(KubernetesWatch, AMissingResourceIsEmptyAndMayComeLater) {
  const std::string path = "/apis/k8s.cni.cncf.io/v1beta2/multi-networkpolicies";
  const std::string older = "/apis/k8s.cni.cncf.io/v1beta1/multi-networkpolicies";
  const Resource resource{
      "MultiNetworkPolicy", "multi-networkpolicies", {"k8s.cni.cncf.io/v1beta2", "k8s.cni.cncf.io/v1beta1"}};
  ApiServer server({});
  server.set_ready(false);
  PodWatch watch({.server = server.url(), .origin = "the test"}, resource);
  // A server that starts does not know yet what it has.
  ASSERT_TRUE(watch.until([&] { return !watch.problem().empty(); }));
  EXPECT_FALSE(watch.watch().synced());
  server.set_ready(true);
  ASSERT_TRUE(watch.until([&] { return watch.watch().synced(); }));
  EXPECT_EQ(watch.watch().state(), Watch::State::kAbsent);
  EXPECT_EQ(watch.problem(), "");

  ApiServer old({older});
  old.put(older, {{"metadata", {{"namespace", "blue"}, {"name", "guard"}}}});
  PodWatch second({.server = old.url(), .origin = "the test"}, resource);
  ASSERT_TRUE(second.until([&] { return second.watches(); }));
  EXPECT_EQ(second.watch().api_version(), "k8s.cni.cncf.io/v1beta1");
  EXPECT_EQ(second.object("blue/guard").at("apiVersion"), "k8s.cni.cncf.io/v1beta1");
  // What was there stays for a while when the server says that it never heard of it.
  old.remove_resource(older);
  ASSERT_TRUE(second.until([&] { return second.problem().find("no longer knows") != std::string::npos; }));
  EXPECT_EQ(second.names(), Names{"blue/guard"});
  old.add_resource(older);
  old.put(older, {{"metadata", {{"namespace", "blue"}, {"name", "other"}}}});
  ASSERT_TRUE(second.until([&] { return second.names() == Names{"blue/other"}; }));
}

TEST(KubernetesWatch, ReadsATokenAgainThatIsReplaced) {
  test::TemporaryDirectory directory;
  const auto file = directory.path() / "token";
  std::ofstream(file) << "first\n";
  ApiServer server({kPods});
  server.demand_token("first");
  PodWatch watch(ClientConfig{.server = server.url(), .token_file = file, .origin = "the test"});
  ASSERT_TRUE(watch.until([&] { return watch.watches(); }));
  server.demand_token("second");
  server.end_watches();
  ASSERT_TRUE(watch.until([&] { return watch.problem().find("401") != std::string::npos; }));
  std::ofstream(file) << "second\n";
  server.put(kPods, pod("one"));
  ASSERT_TRUE(watch.until([&] { return watch.names() == Names{"blue/one"}; }));
}

// Makes a certificate authority in a directory, ca.crt, and server.crt and server.key that it signed.
bool make_certificates(const std::filesystem::path& directory) {
  const std::string key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
  const std::string script =
      "cd " + directory.string() + " && openssl req -x509 " + key +
      " -subj /CN=authority -keyout ca.key -out ca.crt && openssl req " + key +
      " -subj /CN=server -keyout server.key -out server.csr &&"
      " echo subjectAltName=IP:127.0.0.1 >extensions && openssl x509 -req -in server.csr"
      " -CA ca.crt -CAkey ca.key -CAcreateserial -extfile extensions -out server.crt";
  return std::system(("(" + script + ") >/dev/null 2>&1").c_str()) == 0;
}

TEST(KubernetesWatch, VerifiesTheServerAndTakesAReplacedAuthority) {
  test::TemporaryDirectory first;
  test::TemporaryDirectory second;
  ASSERT_TRUE(make_certificates(first.path()) && make_certificates(second.path()));
  test::TemporaryDirectory mounted;
  const auto authority = mounted.path() / "ca.crt";
  std::filesystem::copy_file(first.path() / "ca.crt", authority);
  ApiServer server({kPods}, test::TlsFiles{second.path() / "server.crt", second.path() / "server.key"});
  server.put(kPods, pod("one"));
  PodWatch watch(
      ClientConfig{.server = server.url(), .authority = {.file = authority}, .origin = "the test"});
  ASSERT_TRUE(watch.until([&] { return !watch.problem().empty(); }));
  EXPECT_NE(watch.problem().find("the certificate authority of the test"), std::string::npos)
      << watch.problem();
  EXPECT_TRUE(watch.names().empty());
  std::filesystem::copy_file(second.path() / "ca.crt", authority,
                             std::filesystem::copy_options::overwrite_existing);
  ASSERT_TRUE(watch.until([&] { return watch.names() == Names{"blue/one"}; }));
}

}  // namespace
}  // namespace vmlane::kubernetes
