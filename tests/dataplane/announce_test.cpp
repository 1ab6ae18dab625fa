// SPDX-License-Identifier: Apache-2.0
// What the switch tells others when QEMU asks for it: where a guest is that came from elsewhere.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/dataplane/switch_test.h"
#include "tests/support/traffic.h"

namespace vmlane::test {
namespace {

using std::chrono::milliseconds;

constexpr unsigned kTimes = 5;
constexpr std::uint16_t kEtherTypeRarp = 0x8035;
constexpr std::uint16_t kEtherTypeIpv6 = 0x86dd;
const char* const kForeignMac = "02:00:00:00:00:99";

class Announcing : public SwitchTest {
 protected:
  Json both_families(const Json& more = Json::object()) const {
    Json ipam = host_local();
    ipam.erase("subnet");
    ipam["ranges"] = {{{{"subnet", "192.0.2.0/24"}}}, {{{"subnet", "2001:db8::/64"}}}};
    return config(overlaid({{"ipam", ipam}}, more));
  }
  Json both_families_inside() const {
    Json conf = both_families();
    conf.erase("bridge");
    return conf;
  }
  static std::string address_of(const Nic& nic, std::size_t index) {
    return IpPrefix::parse(nic.result["ips"][index].value("address", ""))->address.to_string();
  }
  // What a container of the network holds for the MAC of an address.
  std::string neighbour(const Pod& pod, const std::string& address) const {
    const Json rows = ip_json(pod.path(), {"neigh", "show", "to", address});
    return rows.empty() ? "" : rows.front().value("lladdr", "");
  }
};

// Frames of a type that another guest, or the switch in its place, sent.
unsigned count_of(Nic& at, const Nic& from, std::uint16_t type, milliseconds time) {
  unsigned count = 0;
  const auto deadline = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < deadline) {
    const auto frame = at.guest->receive_within(milliseconds(50));
    if (frame && source_of(frame->bytes) == from.mac && ether_type_of(frame->bytes) == type) count++;
  }
  return count;
}

TEST_F(Announcing, TellsAllWhereAGuestIsThatSaysNothingItself) {
  start_switch();
  Nic a = connect_nic("a", both_families());
  Nic b = connect_nic("b", both_families());
  Pod& container = make_pod("c");
  ASSERT_CNI_OK(run_plugin("vmlane-veth",
                           call("ADD", container.path(), both_families({{"type", "vmlane-veth"}}), "c"),
                           node_json()));
  // It knows the guest's addresses under the MAC of whoever had them before.
  for (const std::size_t i : {0U, 1U}) {
    must({"ip", "-n", container.name(), "neigh", "replace", address_of(a, i), "lladdr", kForeignMac, "nud",
          "stale", "dev", "eth0"});
  }
  const PacketSocket bridge("", "br1");
  ASSERT_TRUE(a.guest->ask_for_announcement(a.mac.bytes));
  // Checksum, hop limit and options are right, or the kernel would not believe it.
  for (const std::size_t i : {0U, 1U}) {
    EXPECT_TRUE(
        eventually([&] { return neighbour(container, address_of(a, i)) == a.mac.to_string(); }, kPatience))
        << address_of(a, i);
  }
  const auto rarp =
      bridge.receive([](const Frame& frame) { return ether_type_of(frame) == kEtherTypeRarp; }, kPatience);
  ASSERT_TRUE(rarp);
  EXPECT_EQ(source_of(*rarp), a.mac);
  EXPECT_TRUE(eventually([&] { return port_of(a).value("announced", 0U) == kTimes; }, kPatience))
      << port_of(a);
  EXPECT_EQ(port_of(a).value("rx", 1U), 0U) << "the guest was not idle";
  // To each guest too, but for what is of no use to it.
  EXPECT_EQ(count_of(b, a, kEtherTypeArp, milliseconds(300)), kTimes);
  EXPECT_EQ(port_of(a).value("announced", 0U), kTimes) << "it did not end";
}

TEST_F(Announcing, GuestsHearItAndAreSparedWhatIsForSwitches) {
  start_switch();
  Nic a = connect_nic("a", both_families_inside());
  Nic b = connect_nic("b", both_families_inside());
  ASSERT_TRUE(a.guest->ask_for_announcement(a.mac.bytes));
  ASSERT_TRUE(eventually([&] { return port_of(a).value("announced", 0U) == kTimes; }, kPatience));
  unsigned arp = 0;
  unsigned advertisements = 0;
  while (const auto frame = b.guest->receive_within(milliseconds(100))) {
    EXPECT_EQ(source_of(frame->bytes), a.mac);
    EXPECT_NE(ether_type_of(frame->bytes), kEtherTypeRarp);
    arp += ether_type_of(frame->bytes) == kEtherTypeArp ? 1 : 0;
    advertisements += ether_type_of(frame->bytes) == kEtherTypeIpv6 ? 1 : 0;
  }
  EXPECT_EQ(arp, kTimes);
  EXPECT_EQ(advertisements, kTimes);
}

TEST_F(Announcing, RefusesAMacThatIsNotTheGuests) {
  start_switch();
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  ASSERT_TRUE(a.guest->ask_for_announcement(b.mac.bytes));
  EXPECT_TRUE(eventually([&] { return drops_at(a, "mac") > 0; }, kPatience));
  ASSERT_TRUE(a.guest->ask_for_announcement(MacAddress::parse(kForeignMac)->bytes));
  EXPECT_FALSE(b.guest->receive_within(milliseconds(500)));
  EXPECT_EQ(port_of(a).value("announced", 1U), 0U);
  EXPECT_TRUE(passes(b, a, "still there"));
}

TEST_F(Announcing, TakesTheMacOfANestedGuestIntoTheTable) {
  start_switch();
  Nic a = connect_nic("a", inside({{"spoofCheck", false}}));
  const MacAddress nested = *MacAddress::parse(kForeignMac);
  ASSERT_TRUE(a.guest->ask_for_announcement(nested.bytes));
  EXPECT_TRUE(eventually(
      [&] {
        const Json macs = ask("macs");
        return std::ranges::any_of(macs, [&](const Json& row) {
          return row.value("mac", "") == nested.to_string() && row.value("port", "") == id_of(a);
        });
      },
      kPatience))
      << ask("macs");
}

TEST_F(Announcing, WorksThroughTheKeeper) {
  start_keeper();
  Nic a = connect_nic("a", both_families_inside());
  Nic b = connect_nic("b", both_families_inside());
  ASSERT_TRUE(a.guest->ask_for_announcement(a.mac.bytes));
  EXPECT_TRUE(eventually([&] { return port_of(a).value("announced", 0U) == kTimes; }, kPatience));
  EXPECT_EQ(count_of(b, a, kEtherTypeArp, milliseconds(300)), kTimes);
}

}  // namespace
}  // namespace vmlane::test
