// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "cni/request.h"

namespace vmlane::cni {
namespace {

Request request_with(const Json& config, const std::string& cni_args = {}) {
  Request request;
  request.key = {"blue", "c1", "net1"};
  request.config = config;
  request.args = parse_cni_args(cni_args).value_or(CniArgs());
  return request;
}

std::string mac_of(const Json& config, const std::string& cni_args = {}) {
  const auto nic = parse_nic_request(request_with(config, cni_args));
  if (!nic) return nic.error().text();
  return nic->mac ? nic->mac->to_string() : "none";
}

TEST(CniArgs, IgnoresWhatItDoesNotKnow) {
  const auto args = parse_cni_args("IgnoreUnknown=true;K8S_POD_NAME=vm;;FOO=;MAC=02:00:00:00:00:01");
  ASSERT_TRUE(args);
  EXPECT_EQ(args->at("K8S_POD_NAME"), "vm");
  EXPECT_EQ(args->at("FOO"), "");
  EXPECT_EQ(args->size(), 4U);
}

TEST(CniArgs, NamesThePairThatIsNone) {
  for (const char* text : {"FOO", "A=1;B=2=3"})
    EXPECT_EQ(parse_cni_args(text).error().code, Code::kBadEnvironment) << text;
}

TEST(NicRequest, TakesTheMacByPrecedence) {
  Json config = Json::parse(
      R"({"mac":"02:00:00:00:00:01","args":{"cni":{"mac":"02:00:00:00:00:03"}},"runtimeConfig":{"mac":"02:00:00:00:00:AA"}})");
  const std::string args = "MAC=02:00:00:00:00:02";
  EXPECT_EQ(mac_of(config, args), "02:00:00:00:00:aa");
  config.erase("runtimeConfig");
  EXPECT_EQ(mac_of(config, args), "02:00:00:00:00:03");
  config.erase("args");
  EXPECT_EQ(mac_of(config, args), "02:00:00:00:00:02");
  EXPECT_EQ(mac_of(config), "02:00:00:00:00:01");
  EXPECT_EQ(mac_of(Json::object()), "none");
}

TEST(NicRequest, RefusesMacsThatNoNicMayHave) {
  for (const char* mac :
       {"01:00:00:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "zz", "02:00:00:00:00"}) {
    EXPECT_NE(mac_of({{"mac", mac}}).find("mac"), std::string::npos) << mac;
    EXPECT_FALSE(parse_nic_request(request_with({{"mac", mac}}))) << mac;
  }
  // Also where a better source wins.
  EXPECT_FALSE(parse_nic_request(
      request_with(Json::parse(R"({"mac":"zz","runtimeConfig":{"mac":"02:00:00:00:00:01"}})"))));
}

TEST(NicRequest, TakesTheDeviceByPrecedence) {
  Json config = Json::parse(
      R"({"pciBusID":"0000:00:00.1","deviceID":"0000:00:00.2","runtimeConfig":{"deviceID":"0000:00:00.3"}})");
  EXPECT_EQ(parse_nic_request(request_with(config))->device_id, "0000:00:00.3");
  config.erase("runtimeConfig");
  EXPECT_EQ(parse_nic_request(request_with(config))->device_id, "0000:00:00.2");
  config.erase("deviceID");
  EXPECT_EQ(parse_nic_request(request_with(config))->device_id, "0000:00:00.1");
}

TEST(NicRequest, RefusesDeviceIdsThatAreNone) {
  for (const char* id : {"..", ".", "../x", "a/b", "a b", "a\nb"})
    EXPECT_FALSE(parse_nic_request(request_with({{"deviceID", id}}))) << id;
}

TEST(NicRequest, ReadsDnsOfCapabilityAndConfig) {
  Json config = Json::parse(
      R"({"dns":{"nameservers":["192.0.2.1"],"domain":"example.org"},"runtimeConfig":{"dns":{"servers":["192.0.2.2"],"searches":["x"],"options":["y"]}}})");
  auto nic = parse_nic_request(request_with(config));
  EXPECT_EQ(nic->dns.nameservers, std::vector<std::string>{"192.0.2.2"});
  EXPECT_EQ(nic->dns.search, std::vector<std::string>{"x"});
  config.erase("runtimeConfig");
  nic = parse_nic_request(request_with(config));
  EXPECT_EQ(nic->dns.domain, "example.org");
}

TEST(NicRequest, WrongTypesNameTheKey) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"mac":7})", "mac"},
      {R"({"runtimeConfig":[]})", "runtimeConfig"},
      {R"({"runtimeConfig":{"mac":1}})", "runtimeConfig.mac"},
      {R"({"args":{"cni":{"mac":1}}})", "args.cni.mac"},
      {R"({"args":{"cni":"x"}})", "args.cni"},
      {R"({"dns":{"nameservers":"x"}})", "dns.nameservers"},
      {R"({"runtimeConfig":{"dns":{"servers":[1]}}})", "runtimeConfig.dns.servers"}};
  for (const auto& [text, key] : cases) {
    const auto nic = parse_nic_request(request_with(Json::parse(text)));
    ASSERT_FALSE(nic) << text;
    EXPECT_NE(nic.error().message.find(key), std::string::npos) << nic.error().message;
  }
}

TEST(ValidAttachments, F063_ReadsEitherKeyAndTellsAbsentFromEmpty) {
  const Json one = Json::parse(R"([{"containerID":"c1","ifname":"net1"}])");
  EXPECT_EQ((*parse_valid_attachments(request_with({{"cni.dev/valid-attachments", one}})))->size(), 1U);
  EXPECT_EQ((*parse_valid_attachments(request_with({{"cni.dev/attachments", one}})))->size(), 1U);
  EXPECT_EQ((*parse_valid_attachments(
                 request_with({{"cni.dev/valid-attachments", Json::array()}, {"cni.dev/attachments", one}})))
                ->size(),
            0U);
  EXPECT_FALSE(parse_valid_attachments(request_with(Json::object()))->has_value());
}

TEST(ValidAttachments, AnEntryThatCannotBeReadIsAnError) {
  for (const char* text : {R"([{}])", R"([{"containerID":"c1"}])", R"([1])", R"({})"}) {
    EXPECT_FALSE(parse_valid_attachments(request_with({{"cni.dev/valid-attachments", Json::parse(text)}})))
        << text;
  }
}

}  // namespace
}  // namespace vmlane::cni
