// SPDX-License-Identifier: Apache-2.0
// A network with DHCP servers of its own in both families: pods run them, and the guard lets the one that is
// trusted serve and the other not.
#include <filesystem>
#include <optional>

#include "tests/support/plugin.h"
#include "tests/support/traffic.h"

namespace vmlane::test {
namespace {

// host: br1 ==== pods "server" (trusted), "rogue", "client": eth0 without an IPAM plugin's address.
class OwnServersTest : public PluginFixture {
 protected:
  std::string plugin() const override { return "vmlane-veth"; }

  void SetUp() override {
    PluginFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    attach("server", {{"trusted", true}});
    attach("rogue", Json::object());
    attach("client", Json::object());
    address("server", "198.51.100.1/24");
    address("server", "2001:db8:1::1/64");
    address("rogue", "203.0.113.1/24");
    address("rogue", "2001:db8:2::1/64");
    spit(directory() / "configure",
         "#!/bin/sh\n"
         "case $reason in\n"
         "  BOUND) ip addr add $new_ip_address/24 dev $interface ;;\n"
         "  BOUND6) ip addr add $new_ip6_address/64 dev $interface nodad ;;\n"
         "esac\n");
    std::filesystem::permissions(directory() / "configure", std::filesystem::perms::owner_all);
  }
  void TearDown() override {
    // A client that has its lease goes on in the background.
    for (const char* family : {"-4", "-6"}) run({"pkill", "-F", client_file(family) + ".pid"});
    PluginFixture::TearDown();
  }
  std::string client_file(const std::string& family) const {
    return (directory() / ("dhclient" + family)).string();
  }
  void attach(const std::string& name, const Json& more) {
    ASSERT_CNI_OK(add(make_pod(name), keys(more), name));
    ASSERT_TRUE(pod(name).run({"sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=0"}).ok());
  }
  Json keys(const Json& more) const {
    Json all = {{"spoofCheck", true}, {"ipam", nullptr}};
    all.update(more);
    return config(all);
  }
  void address(const std::string& name, const std::string& text) const {
    const RunResult added = pod(name).run({"ip", "addr", "add", text, "dev", "eth0", "nodad"});
    EXPECT_TRUE(added.ok()) << added.err;
  }
  BackgroundProcess serve(const std::string& name, const std::string& net4, const std::string& net6) const {
    const std::string leases = (directory() / (name + ".leases")).string();
    return BackgroundProcess(
        {"dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0", "--user=root", "--interface=eth0",
         "--bind-interfaces", "--no-ping", "--dhcp-authoritative", "--dhcp-leasefile=" + leases,
         "--pid-file=" + leases + ".pid", "--dhcp-range=" + net4 + "50," + net4 + "60,1h",
         "--dhcp-range=" + net6 + "50," + net6 + "60,64,1h"},
        {.netns = pod(name).path()});
  }
  // dhclient of a family ("-4", "-6") in the client's pod; "-1": until it has a lease, "-r": releases it.
  bool ask(const std::string& family, const std::string& what, int seconds) const {
    const std::string files = client_file(family);
    return pod("client")
        .run({"timeout", std::to_string(seconds), "dhclient", family, what, "-sf",
              (directory() / "configure").string(), "-lf", files + ".leases", "-pf", files + ".pid", "-cf",
              "/dev/null", "eth0"})
        .ok();
  }
  bool has(const std::string& prefix) const {
    for (const std::string& text : addresses_of(pod("client").path(), "eth0")) {
      if (text.starts_with(prefix)) return true;
    }
    return false;
  }
  Pod& pod(const std::string& name) const { return *pods().at(name); }
};

TEST_F(OwnServersTest, TrustedPodServesAndAnotherDoesNot) {
  {
    const BackgroundProcess rogue = serve("rogue", "203.0.113.", "2001:db8:2::");
    sleep_ms(500);
    EXPECT_FALSE(ask("-4", "-1", 3)) << "an offer of the rogue server came through";
    EXPECT_FALSE(ask("-6", "-1", 3)) << "an advertisement of the rogue server came through";
  }
  const BackgroundProcess rogue = serve("rogue", "203.0.113.", "2001:db8:2::");
  const BackgroundProcess server = serve("server", "198.51.100.", "2001:db8:1::");
  ASSERT_TRUE(ask("-4", "-1", 20));
  ASSERT_TRUE(ask("-6", "-1", 20));
  EXPECT_TRUE(has("198.51.100."));
  EXPECT_TRUE(has("2001:db8:1::"));
  const std::string client = pod("client").path();
  EXPECT_TRUE(reach(client, "198.51.100.1").all());
  EXPECT_TRUE(reach(client, "2001:db8:1::1").all());
  // What was leased is all that it may use.
  address("client", "198.51.100.99/24");
  EXPECT_FALSE(pod("client")
                   .run({"ping", "-c", "2", "-i", "0.2", "-W", "1", "-I", "198.51.100.99", "198.51.100.1"})
                   .ok());
  address("client", "2001:db8:1::99/64");
  EXPECT_FALSE(pod("client")
                   .run({"ping", "-c", "2", "-i", "0.2", "-W", "1", "-I", "2001:db8:1::99", "2001:db8:1::1"})
                   .ok());
}

TEST_F(OwnServersTest, ReleasedLeaseMayBeAnothersAtOnce) {
  const BackgroundProcess server = serve("server", "198.51.100.", "2001:db8:1::");
  ASSERT_TRUE(ask("-4", "-1", 20));
  std::string leased;
  for (const std::string& text : addresses_of(pod("client").path(), "eth0"))
    leased = text.substr(0, text.find('/'));
  ASSERT_FALSE(leased.empty());
  attach("next", Json::object());
  address("next", leased + "/24");
  const auto reaches = [&] {
    return pod("next").run({"ping", "-c", "2", "-i", "0.2", "-W", "1", "-I", leased, "198.51.100.1"}).ok();
  };
  EXPECT_FALSE(reaches()) << "the address is the client's";
  EXPECT_TRUE(ask("-4", "-r", 20));
  ASSERT_TRUE(pod("client").run({"ip", "-4", "addr", "flush", "dev", "eth0"}).ok());
  EXPECT_TRUE(eventually(reaches));
}

}  // namespace
}  // namespace vmlane::test
