// SPDX-License-Identifier: Apache-2.0
// Services: a node translates their addresses behind the link where policy is enforced (here as kube-proxy
// does, by nftables), and policy is about the pods behind them.
#include <filesystem>
#include <map>

#include "core/names.h"
#include "tests/support/agent.h"
#include "tests/support/plugin.h"
#include "tests/support/traffic.h"

namespace vmlane::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr std::uint16_t kServicePort = 80;
constexpr std::uint16_t kPodPort = 8080;
constexpr std::uint16_t kNodePort = 30080;

// Pod client in one subnet of the node, pods web and db in another; what the client sends is what policy
// allows. The parameter says whether all of it is IPv6.
class PolicyServices : public PluginFixture, public ::testing::WithParamInterface<bool> {
 protected:
  std::string plugin() const override { return "vmlane-veth"; }

  void SetUp() override {
    PluginFixture::SetUp();
    if (IsSkipped()) return;
    must({"sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"});
    fs::create_directories(objects());
    agent_.emplace(node(), std::vector<fs::path>{objects()});
    for (const char* name : {"client", "web", "db"}) put_pod(name, name);
    put("guard.json", guard(kPodPort));
    agent_->start();
    attach("client", "br1", "192.0.2.0/24", "2001:db8:1::/64");
    for (const char* name : {"web", "db"}) {
      attach(name, "br2", "198.51.100.0/24", "2001:db8:2::/64");
      greeters_.emplace(std::piecewise_construct, std::forward_as_tuple(name),
                        std::forward_as_tuple(pods().at(name)->path(), kPodPort, name));
    }
    for (const char* name : {"client", "web", "db"}) {
      ASSERT_TRUE(eventually(
          [&] {
            return agent_->attachment(names::attachment_id(networks_.at(name), name, "eth0"))
                .value("judged", false);
          },
          60s))
          << agent_->status();
    }
  }
  void TearDown() override {
    greeters_.clear();  // with their threads the process could not go back to its mount namespace
    agent_.reset();
    PluginFixture::TearDown();
  }

  fs::path objects() const { return directory() / "objects"; }
  void put(const std::string& file, const std::string& text) const {
    spit(directory() / "unfinished", text);
    fs::rename(directory() / "unfinished", objects() / file);
  }
  void put_pod(const std::string& name, const std::string& role) const {
    put(name + ".json", pod_text(name, {{"role", role}}));
  }
  // The client may speak to web, on that port.
  static std::string guard(std::uint16_t port) {
    const Json web = {{"podSelector", {{"matchLabels", {{"role", "web"}}}}}};
    const Json rule = {{"to", {web}}, {"ports", {{{"port", port}}}}};
    return policy_text("guard", {{"podSelector", {{"matchLabels", {{"role", "client"}}}}},
                                 {"policyTypes", {"Egress"}},
                                 {"egress", {rule}}});
  }
  void attach(const std::string& name, const std::string& bridge, const std::string& subnet4,
              const std::string& subnet6) {
    Json ipam = host_local(subnet4);
    ipam["ranges"].push_back(Json::array({{{"subnet", subnet6}}}));
    const Json conf =
        config({{"name", "net-" + bridge}, {"bridge", bridge}, {"isDefaultGateway", true}, {"ipam", ipam}});
    networks_[name] = conf["name"];
    const CniOutcome outcome = add(make_pod(name), conf, name);
    ASSERT_CNI_OK(outcome);
    const std::string text = (*outcome.document)["ips"][GetParam() ? 1 : 0]["address"];
    addresses_[name] = text.substr(0, text.find('/'));
  }

  std::string service_address() const { return GetParam() ? "2001:db8:5::10" : "203.0.113.10"; }
  std::string node_address() const { return GetParam() ? "2001:db8:1::1" : "192.0.2.1"; }
  void put_service() const {
    const Json port = {{"name", "http"}, {"port", kServicePort}, {"nodePort", kNodePort}};
    put("service.json", Json{{"apiVersion", "v1"},
                             {"kind", "Service"},
                             {"metadata", {{"name", "s"}, {"namespace", "blue"}}},
                             {"spec", {{"clusterIPs", {service_address()}}, {"ports", {port}}}}}
                            .dump());
  }
  void put_endpoints(const std::vector<std::string>& pods) const {
    Json endpoints = Json::array();
    for (const std::string& pod : pods) endpoints.push_back({{"addresses", {addresses_.at(pod)}}});
    put("slice.json",
        Json{{"apiVersion", "discovery.k8s.io/v1"},
             {"kind", "EndpointSlice"},
             {"metadata",
              {{"name", "s-1"}, {"namespace", "blue"}, {"labels", {{"kubernetes.io/service-name", "s"}}}}},
             {"addressType", GetParam() ? "IPv6" : "IPv4"},
             {"endpoints", endpoints},
             {"ports", {{{"name", "http"}, {"port", kPodPort}}}}}
            .dump());
  }
  // What the node makes of the Service, which is nobody's business but its own.
  void translate_to(const std::string& pod) {
    const std::string family = GetParam() ? "ip6" : "ip";
    const std::string to = " dnat " + family + " to " + (GetParam() ? "[" : "") + addresses_.at(pod) +
                           (GetParam() ? "]:" : ":") + std::to_string(kPodPort) + "\n";
    const fs::path rules = directory() / "rules.nft";
    spit(rules,
         "table inet proxy\ndelete table inet proxy\ntable inet proxy {\nchain in {\n"
         "type nat hook prerouting priority dstnat;\n" +
             family + " daddr " + service_address() + " tcp dport " + std::to_string(kServicePort) + to +
             family + " daddr " + node_address() + " tcp dport " + std::to_string(kNodePort) + to + "}\n}\n");
    must({"nft", "-f", rules.string()});
  }
  std::string greeting(const std::string& address, std::uint16_t port) {
    return tcp_greeting(pods().at("client")->path(), address, port);
  }
  // Who answers, as soon as it is so.
  bool answers(const std::string& address, std::uint16_t port, const std::string& who) {
    return eventually([&] { return greeting(address, port) == who; }, 60s);
  }
  // Nobody, from some moment on.
  bool is_kept_out(const std::string& address, std::uint16_t port) {
    return answers(address, port, "") && greeting(address, port).empty() && greeting(address, port).empty();
  }
  std::size_t known_objects() const { return agent_->status().value("objects", std::size_t{0}); }

  std::optional<AgentRunner> agent_;
  std::map<std::string, std::string> networks_;  // names of the pods' configurations
  std::map<std::string, std::string> addresses_;
  std::map<std::string, TcpGreeter> greeters_;
};

TEST_P(PolicyServices, AServicesAddressIsJudgedAsThePodsBehindIt) {
  translate_to("web");
  ASSERT_TRUE(answers(addresses_["web"], kPodPort, "web")) << agent_->status();
  EXPECT_EQ(greeting(addresses_["db"], kPodPort), "");
  EXPECT_EQ(greeting(service_address(), kServicePort), "") << "nobody has said what address that is";
  put_service();
  put_endpoints({"web"});
  EXPECT_TRUE(answers(service_address(), kServicePort, "web")) << agent_->status();
  // It may be any of them.
  put_endpoints({"web", "db"});
  EXPECT_TRUE(is_kept_out(service_address(), kServicePort));
  EXPECT_EQ(greeting(addresses_["web"], kPodPort), "web") << "by its own address";
  // The pod's labels count, not the Service.
  put_pod("db", "web");
  EXPECT_TRUE(answers(service_address(), kServicePort, "web"));
  translate_to("db");
  EXPECT_TRUE(answers(service_address(), kServicePort, "db"));
  put_pod("db", "db");
  EXPECT_TRUE(is_kept_out(service_address(), kServicePort));
}

TEST_P(PolicyServices, PortsAreThoseOfThePods) {
  translate_to("web");
  put_service();
  put_endpoints({"web"});
  EXPECT_TRUE(answers(service_address(), kServicePort, "web"));
  put("guard.json", guard(kServicePort));
  EXPECT_TRUE(is_kept_out(service_address(), kServicePort));
}

// The client's own node is exempt, but not what it hands on.
TEST_P(PolicyServices, APortOfTheNodeIsNoWayAround) {
  translate_to("db");
  put_service();
  put_endpoints({"db"});
  ASSERT_TRUE(eventually([&] { return known_objects() == 6; }, 60s)) << agent_->status();
  EXPECT_TRUE(is_kept_out(node_address(), kNodePort));
  translate_to("web");
  put_endpoints({"web"});
  EXPECT_TRUE(answers(node_address(), kNodePort, "web")) << agent_->status();
}

INSTANTIATE_TEST_SUITE_P(Families, PolicyServices, ::testing::Bool(),
                         [](const ::testing::TestParamInfo<bool>& family) {
                           return family.param ? "ipv6" : "ipv4";
                         });

}  // namespace
}  // namespace vmlane::test
