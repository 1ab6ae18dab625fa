// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "lab/guest_network.h"

namespace vmlane::lab {
namespace {

AttachmentRecord record_with(const Json& result) {
  AttachmentRecord record;
  record.key = {"blue", "c1", "pod0123456789a"};
  record.mac = "02:00:00:00:00:01";
  record.mtu = 1450;
  record.result = result;
  return record;
}

std::string line_of(const Json& result) {
  const auto nic = guest_nic(record_with(result));
  EXPECT_TRUE(nic) << nic.error().text();
  const auto line = kernel_command_line("vm-a.example", {*nic});
  EXPECT_TRUE(line) << line.error().text();
  return line->substr(line->find(" vmlane.") + 1);
}

TEST(LabGuestNetwork, AddressesRoutesAndMtuReachTheGuest) {
  EXPECT_EQ(line_of({{"ips",
                      {{{"address", "192.0.2.10/24"}, {"gateway", "192.0.2.1"}},
                       {{"address", "2001:db8::10/64"}, {"gateway", "2001:db8::1"}}}},
                     {"routes", {{{"dst", "0.0.0.0/0"}, {"gw", "192.0.2.254"}}}}}),
            "vmlane.hostname=vm-a "
            "vmlane.nic=02:00:00:00:00:01,mtu=1450,address=192.0.2.10/24,address=2001:db8::10/64,"
            "route=0.0.0.0/0@192.0.2.254");
}

TEST(LabGuestNetwork, RouteWithoutGatewayTakesThatOfItsFamily) {
  const std::string line =
      line_of({{"ips",
                {{{"address", "192.0.2.10/24"}, {"gateway", "192.0.2.1"}},
                 {{"address", "192.0.2.11/24"}, {"gateway", "192.0.2.2"}}}},
               {"routes", {{{"dst", "198.51.100.0/24"}}, {{"dst", "2001:db8:1::/64"}}}}});
  EXPECT_NE(line.find(",route=198.51.100.0/24@192.0.2.1,route=2001:db8:1::/64"), std::string::npos) << line;
  EXPECT_EQ(line.find("2001:db8:1::/64@"), std::string::npos) << line;
}

TEST(LabGuestNetwork, NicWithoutAddressIsNamedAllTheSame) {
  EXPECT_EQ(line_of(Json::object()), "vmlane.hostname=vm-a vmlane.nic=02:00:00:00:00:01,mtu=1450");
}

TEST(LabGuestNetwork, BadResultsNameTheAttachment) {
  for (const Json& result :
       {Json{{"ips", {{{"address", "192.0.2.300/24"}}}}}, Json{{"ips", {{{"address", 5}}}}},
        Json{{"routes", {{{"dst", "all"}}}}}, Json{{"ips", "none"}}}) {
    const auto nic = guest_nic(record_with(result));
    ASSERT_FALSE(nic) << result;
    EXPECT_NE(nic.error().text().find("pod0123456789a"), std::string::npos) << nic.error().text();
  }
  AttachmentRecord record = record_with(Json::object());
  record.mac.reset();
  EXPECT_FALSE(guest_nic(record));
}

TEST(LabGuestNetwork, CommandLineOfAKernelIsLimited) {
  GuestNic nic{.mac = {{2, 0, 0, 0, 0, 1}}};
  const auto route = *IpPrefix::parse("2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff/128");
  for (int i = 0; i < 60; i++) nic.routes.push_back({route, std::nullopt});
  const auto line = kernel_command_line("vm-a", {nic});
  ASSERT_FALSE(line);
  EXPECT_NE(line.error().message.find("vm-a"), std::string::npos);
  EXPECT_NE(line.error().message.find("2047"), std::string::npos);
}

}  // namespace
}  // namespace vmlane::lab
