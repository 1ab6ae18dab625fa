// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "cloud-init/seed.h"
#include "manifests/yaml.h"

namespace vmlane::cloud_init {
namespace {

AttachmentRecord nic(const std::string& ifname, const std::string& mac, const Json& result = Json::object()) {
  AttachmentRecord record;
  record.state = RecordState::kDone;
  record.key = {"blue", "c1", ifname};
  record.plugin = "vmlane-tap";
  record.netconf = {{"name", "blue"}};
  record.pod = {.ns = "red", .name = "virt-launcher-web-x7k2p", .uid = "u1", .vm = "web", .migration = {}};
  record.mac = mac;
  record.result = result;
  return record;
}

const Json kDualStack = {{"ips",
                          {{{"address", "192.0.2.10/24"}, {"gateway", "192.0.2.1"}},
                           {{"address", "2001:db8::10/64"}, {"gateway", "2001:db8::1"}}}},
                         {"routes", {{{"dst", "0.0.0.0/0"}}, {{"dst", "::/0"}}}}};

// The file's text as its readers see it: version 1.1's words and numbers, as cloud-init's library has them.
Json parsed(const std::string& text) {
  const auto documents = parse_yaml(text, "file");
  EXPECT_TRUE(documents) << documents.error().text();
  EXPECT_EQ(documents->size(), 1U) << text;
  return documents->at(0).value;
}

Seed data_of(const std::vector<AttachmentRecord>& nics, const SeedOptions& options = {}) {
  const auto data = make_seed(nics, options);
  EXPECT_TRUE(data) << data.error().text();
  return data.value_or(Seed());
}

Json nic_of(const AttachmentRecord& record, const SeedOptions& options = {}) {
  return parsed(data_of({record}, options).network_config)["ethernets"][record.key.ifname];
}

std::string instance_of(const AttachmentRecord& record) {
  return parsed(data_of({record}).meta_data).value("instance-id", "");
}

Error error_of(const std::vector<AttachmentRecord>& nics, const SeedOptions& options = {}) {
  const auto data = make_seed(nics, options);
  EXPECT_FALSE(data) << data->network_config;
  return data ? Error() : data.error();
}

TEST(CloudInit, StaticNicHasAddressesRoutesNameServersAndMtuOfItsRecord) {
  Json result = kDualStack;
  result["dns"] = {{"nameservers", {"192.0.2.53", "2001:db8::53"}},
                   {"domain", "red.example"},
                   {"search", {"svc.example"}}};
  AttachmentRecord record = nic("eth0", "02:00:00:00:00:01", result);
  record.mtu = 1450;
  const Json network = parsed(data_of({record}).network_config);
  EXPECT_EQ(network["version"], 2);
  EXPECT_EQ(network["ethernets"],
            Json({{"eth0",
                   {{"match", {{"macaddress", "02:00:00:00:00:01"}}},
                    {"set-name", "eth0"},
                    {"dhcp4", false},
                    {"dhcp6", false},
                    {"mtu", 1450},
                    {"addresses", {"192.0.2.10/24", "2001:db8::10/64"}},
                    {"routes",
                     {{{"to", "0.0.0.0/0"}, {"via", "192.0.2.1"}}, {{"to", "::/0"}, {"via", "2001:db8::1"}}}},
                    {"nameservers",
                     {{"addresses", {"192.0.2.53", "2001:db8::53"}},
                      {"search", {"red.example", "svc.example"}}}}}}}));
}

TEST(CloudInit, NicWithoutAddressesAsksTheNetwork) {
  AttachmentRecord record = nic("net1", "02:00:00:00:00:01");
  record.result = nullptr;
  EXPECT_EQ(nic_of(record), Json({{"match", {{"macaddress", "02:00:00:00:00:01"}}},
                                  {"set-name", "net1"},
                                  {"dhcp4", true},
                                  {"dhcp6", true},
                                  {"accept-ra", true}}));
}

TEST(CloudInit, EveryStringIsQuotedSoThatOldReadersDoNotTakeItForANumber) {
  const std::string text = data_of({nic("eth0", "02:00:00:00:00:01", kDualStack)}).network_config;
  EXPECT_NE(text.find("\"02:00:00:00:00:01\""), std::string::npos) << text;
  const std::string meta = data_of({nic("eth0", "02:00:00:00:00:01")}, {.hostname = "1e3"}).meta_data;
  EXPECT_NE(meta.find("\"1e3\""), std::string::npos) << meta;
}

TEST(CloudInit, GatewayOutsideTheSubnetIsOnLink) {
  const Json config = nic_of(
      nic("eth0", "02:00:00:00:00:01",
          {{"ips", {{{"address", "192.0.2.10/32"}}, {{"address", "2001:db8::10/128"}}}},
           {"routes",
            {{{"dst", "0.0.0.0/0"}, {"gw", "203.0.113.1"}}, {{"dst", "::/0"}, {"gw", "2001:db8:1::1"}}}}}));
  EXPECT_EQ(config["routes"], Json::array({{{"to", "0.0.0.0/0"}, {"via", "203.0.113.1"}, {"on-link", true}},
                                           {{"to", "::/0"}, {"via", "2001:db8:1::1"}, {"on-link", true}}}));
}

TEST(CloudInit, LinkLocalGatewayNeedsNoSubnet) {
  const Json config = nic_of(
      nic("eth0", "02:00:00:00:00:01",
          {{"ips", {{{"address", "2001:db8::10/64"}}}}, {"routes", {{{"dst", "::/0"}, {"gw", "fe80::1"}}}}}));
  EXPECT_EQ(config["routes"], Json::array({{{"to", "::/0"}, {"via", "fe80::1"}}}));
}

TEST(CloudInit, DefaultRouteIsToldAsGateway6WhenAskedAndWholeThatWay) {
  const SeedOptions options{.gateway6 = true};
  const Json plain = nic_of(nic("eth0", "02:00:00:00:00:01", kDualStack), options);
  EXPECT_EQ(plain["gateway6"], "2001:db8::1");
  EXPECT_EQ(plain["routes"], Json::array({{{"to", "0.0.0.0/0"}, {"via", "192.0.2.1"}}}));
  for (const Json& more : {Json{{"priority", 10}}, Json{{"gw", "2001:db8:1::1"}}, Json{{"table", 7}}}) {
    Json result = kDualStack;
    result["routes"][1].update(more);
    const Json config = nic_of(nic("eth0", "02:00:00:00:00:01", result), options);
    EXPECT_FALSE(config.contains("gateway6")) << config;
    EXPECT_EQ(config["routes"].size(), 2U) << config;
  }
}

TEST(CloudInit, RouteKeepsMetricMtuAndTable) {
  const Json config = nic_of(
      nic("eth0", "02:00:00:00:00:01",
          {{"ips", {{{"address", "192.0.2.10/24"}}, {{"address", "2001:db8::10/64"}}}},
           {"routes",
            {{{"dst", "198.51.100.7/24"}, {"gw", "192.0.2.1"}, {"priority", 50}, {"mtu", 1400}, {"table", 7}},
             {{"dst", "203.0.113.0/24"}},
             {{"dst", "::/0"}, {"gw", "2001:db8::1"}, {"priority", 10}}}}}));
  EXPECT_EQ(
      config["routes"],
      Json::array(
          {{{"to", "198.51.100.0/24"}, {"via", "192.0.2.1"}, {"metric", 50}, {"mtu", 1400}, {"table", 7}},
           {{"to", "203.0.113.0/24"}, {"scope", "link"}},
           {{"to", "::/0"}, {"via", "2001:db8::1"}, {"metric", 10}}}));
}

TEST(CloudInit, GuestKeepsItsNamesWhenAsked) {
  const auto data = data_of({nic("eth0", "02:00:00:00:00:01")}, {.set_names = false});
  const Json network = parsed(data.network_config);
  EXPECT_FALSE(network["ethernets"]["eth0"].contains("set-name")) << network;
}

TEST(CloudInit, TwoNicsOfOneMacAreRefused) {
  const Error error = error_of({nic("eth0", "02:00:00:00:00:0a"), nic("net1", "02:00:00:00:00:0A")});
  EXPECT_EQ(error.code, Code::kConflict);
  for (const char* culprit : {"eth0", "net1", "02:00:00:00:00:0a"})
    EXPECT_NE(error.message.find(culprit), std::string::npos) << error.message;
  EXPECT_EQ(error_of({nic("eth0", "02:00:00:00:00:01"), nic("eth0", "02:00:00:00:00:02")}).code,
            Code::kConflict);
}

TEST(CloudInit, BadRecordsAreNamedWithTheKey) {
  const auto with = [](const Json& result) { return nic("net7", "02:00:00:00:00:01", result); };
  AttachmentRecord nameless = nic("net7", "02:00:00:00:00:01");
  nameless.mac.reset();
  AttachmentRecord long_name = nic("net7-and-too-long", "02:00:00:00:00:01");
  const std::vector<std::pair<AttachmentRecord, std::string>> cases = {
      {nameless, "MAC"},
      {nic("net7", "01:00:5e:00:00:01"), "mac"},
      {long_name, "ifname"},
      {with({{"ips", {{{"address", "192.0.2.300/24"}}}}}), "result.ips[0].address"},
      {with({{"routes", {{{"dst", "all"}}}}}), "result.routes[0].dst"},
      {with({{"routes", {{{"dst", "0.0.0.0/0"}, {"gw", "2001:db8::1"}}}}}), "result.routes"},
      {with({{"dns", {{"nameservers", {"dns.example"}}}}}), "result.dns.nameservers"}};
  for (const auto& [record, key] : cases) {
    const std::string text = error_of({record}).text();
    EXPECT_NE(text.find("net7"), std::string::npos) << text;
    EXPECT_NE(text.find(key), std::string::npos) << text;
  }
}

TEST(CloudInit, InstanceIdIsTheVmsWhateverPodItRunsIn) {
  const AttachmentRecord first = nic("eth0", "02:00:00:00:00:01");
  AttachmentRecord restarted = nic("eth0", "02:00:00:00:00:02", kDualStack);
  restarted.key.container_id = "c2";
  restarted.pod.name = "virt-launcher-web-aaaaa";
  restarted.pod.uid = "u2";
  AttachmentRecord other = first;
  other.pod.vm = "web2";
  AttachmentRecord elsewhere = first;
  elsewhere.pod.ns = "green";
  EXPECT_FALSE(instance_of(first).empty());
  EXPECT_EQ(instance_of(first), instance_of(restarted));
  EXPECT_NE(instance_of(first), instance_of(other));
  EXPECT_NE(instance_of(first), instance_of(elsewhere));
}

TEST(CloudInit, PodOfTheSameNameIsAnotherInstance) {
  AttachmentRecord first = nic("eth0", "02:00:00:00:00:01");
  first.pod.vm.clear();
  AttachmentRecord second = first;
  second.pod.uid = "u2";
  EXPECT_NE(instance_of(first), instance_of(second));
  first.pod = {};
  second.pod = {};
  second.key.container_id = "c2";
  EXPECT_NE(instance_of(first), instance_of(second));
}

TEST(CloudInit, HostnameIsTheVmsUnlessGiven) {
  AttachmentRecord record = nic("eth0", "02:00:00:00:00:01");
  const auto hostname = [&record](const SeedOptions& options = {}) {
    return parsed(data_of({record}, options).meta_data).value("local-hostname", "none");
  };
  EXPECT_EQ(hostname(), "web");
  EXPECT_EQ(hostname({.hostname = "db.example"}), "db.example");
  record.pod.vm = "web.1";
  EXPECT_EQ(hostname(), "web");
  record.pod.vm.clear();
  EXPECT_EQ(hostname(), "virt-launcher-web-x7k2p");
  record.pod = {};
  EXPECT_EQ(hostname(), "none");
}

TEST(CloudInit, BadOptionsAreNamed) {
  const AttachmentRecord record = nic("eth0", "02:00:00:00:00:01");
  for (const std::string hostname : {"-a", "a b", "a..b", "a.", "\xc3\xa4", "a_b"}) {
    const std::string text = error_of({record}, {.hostname = hostname}).text();
    EXPECT_NE(text.find("--hostname is \"" + hostname), std::string::npos) << text;
  }
  EXPECT_FALSE(make_seed({record}, {.hostname = std::string(64, 'a')}));
  const std::string text = error_of({record}, {.instance_id = "../etc"}).text();
  EXPECT_NE(text.find("--instance-id"), std::string::npos) << text;
}

TEST(CloudInit, UserDataIsMinimalOrAsGiven) {
  const AttachmentRecord record = nic("eth0", "02:00:00:00:00:01");
  const std::string minimal = data_of({record}).user_data;
  EXPECT_TRUE(minimal.starts_with("#cloud-config\n")) << minimal;
  const std::string keys = data_of({record}, {.ssh_keys = {"ssh-ed25519 AAAAC3 me: #1"}}).user_data;
  EXPECT_TRUE(keys.starts_with("#cloud-config\n")) << keys;
  EXPECT_EQ(parsed(keys), Json({{"ssh_authorized_keys", {"ssh-ed25519 AAAAC3 me: #1"}}}));
  EXPECT_EQ(data_of({record}, {.user_data = "#!/bin/sh\nid"}).user_data, "#!/bin/sh\nid");
}

TEST(CloudInit, NetworkConfigurationIsAsGivenWhereOneIs) {
  const std::string given = "version: 2\nethernets: {eth0: {dhcp4: true}}\n";
  const Seed seed = data_of({nic("eth0", "02:00:00:00:00:01", kDualStack)}, {.network_config = given});
  EXPECT_EQ(seed.network_config, given);
  EXPECT_NE(seed.meta_data.find("instance-id"), std::string::npos);
}

TEST(CloudInit, UserDataMustBeginAsCloudInitKnows) {
  for (const std::string good :
       {"#cloud-config\n", "#cloud-config", "#!/bin/sh\n", "#include\nhttp://a.example/",
        "## template: jinja\n", "#cloud-boothook\n", "Content-Type: multipart/mixed", "MIME-Version: 1.0",
        "#cloud-config-archive\n"}) {
    EXPECT_TRUE(check_user_data(good, "--user-data f")) << good;
  }
  for (const std::string bad :
       {"", "packages: [vim]", "# cloud-config\n", "#cloud-configs\n", "\n#cloud-config"}) {
    const auto checked = check_user_data(bad, "--user-data f");
    ASSERT_FALSE(checked) << bad;
    EXPECT_NE(checked.error().message.find("--user-data f"), std::string::npos);
  }
}

TEST(CloudInit, PublicKeysAreReadAndNothingElse) {
  const auto keys = parse_ssh_keys(
      "# mine\n\nssh-ed25519 AAAAC3Nz me@host\r\n  restrict,command=\"id\" ecdsa-sha2-nistp256 AAAAE2Vj\n",
      "f.pub");
  ASSERT_TRUE(keys) << keys.error().text();
  EXPECT_EQ(*keys, (std::vector<std::string>{"ssh-ed25519 AAAAC3Nz me@host",
                                             "restrict,command=\"id\" ecdsa-sha2-nistp256 AAAAE2Vj"}));
  const auto secret = parse_ssh_keys("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz\n", "id");
  ASSERT_FALSE(secret);
  EXPECT_NE(secret.error().text().find("id, line 1"), std::string::npos) << secret.error().text();
  EXPECT_NE(secret.error().text().find(".pub"), std::string::npos) << secret.error().text();
  EXPECT_FALSE(parse_ssh_keys("# none\n", "f.pub"));
}

}  // namespace
}  // namespace vmlane::cloud_init
