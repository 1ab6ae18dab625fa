// SPDX-License-Identifier: Apache-2.0
// vmlane-tap with a stand-in for the guest: what the tap is like, that frames pass both ways untouched, and
// that nothing with the guest's MAC is heard before the guest speaks (contracts of the tap lane).
#include <linux/if_tun.h>

#include <algorithm>

#include "core/names.h"
#include "tests/support/frames.h"
#include "tests/support/guest.h"
#include "tests/support/plugin.h"
#include "tests/support/snapshot.h"
#include "tests/support/traffic.h"

namespace vmlane::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr const char* kGuestMac = "02:00:00:00:01:07";
// Longer than duplicate address detection and the first router solicitations of a kernel.
constexpr auto kSilence = milliseconds(3500);

class TapTest : public PluginFixture {
 protected:
  std::string plugin() const override { return "vmlane-tap"; }

  Json tap_config(const Json& more = Json::object()) const {
    Json conf = config({{"mac", kGuestMac}, {"mtu", 1450}});
    conf.update(more);
    return conf;
  }
  Json attach(const std::string& name, const Json& conf, const std::string& ifname = "eth0") {
    const CniOutcome outcome = add(make_pod(name), conf, name, ifname);
    EXPECT_CNI_OK(outcome);
    return outcome.document.value_or(Json::object());
  }
  // A container of the same network by vmlane-veth; its address.
  std::string attach_container(const std::string& name) {
    Json conf = config({{"mtu", 1450}});
    conf["type"] = "vmlane-veth";
    const CniOutcome outcome =
        run_plugin("vmlane-veth", call("ADD", make_pod(name).path(), conf, name), node_json());
    EXPECT_CNI_OK(outcome);
    const std::string address =
        outcome.document ? (*outcome.document)["ips"][0]["address"].get<std::string>() : "/";
    return address.substr(0, address.find('/'));
  }
  const Pod& pod(const std::string& name) const { return *pods().at(name); }
  static std::string in_sysfs(const Pod& pod, const std::string& path) {
    return test::run({"ip", "netns", "exec", pod.name(), "cat", "/sys/class/net/" + path}).out;
  }
  static std::string sysctl_of(const Pod& pod, const std::string& path) {
    return pod.run({"cat", "/proc/sys/net/" + path}).out;
  }
  static std::string guest_address(const Json& result) {
    const std::string text = result["ips"][0]["address"];
    return text.substr(0, text.find('/'));
  }
};

TEST_F(TapTest, TapIsWhatLibvirtExpects) {
  attach("vm", tap_config());
  const Json tap = link_of(pod("vm").path(), "tap0");
  ASSERT_FALSE(tap.is_null());
  EXPECT_EQ(tap["linkinfo"]["info_kind"], "tun");
  EXPECT_EQ(tap["linkinfo"]["info_data"]["type"], "tap");
  EXPECT_EQ(tap["linkinfo"]["info_data"]["persist"], true);
  EXPECT_EQ(tap["mtu"], 1450);
  EXPECT_NE(tap["address"], kGuestMac) << "the tap has a MAC of its own";
  EXPECT_EQ(tap["ifalias"].get<std::string>().find("vmlane:"), 0U);
  EXPECT_EQ(in_sysfs(pod("vm"), "tap0/owner"), "107\n");
  EXPECT_EQ(in_sysfs(pod("vm"), "tap0/group"), "107\n");
  const unsigned flags =
      static_cast<unsigned>(std::stoul(in_sysfs(pod("vm"), "tap0/tun_flags"), nullptr, 16));
  EXPECT_EQ(flags & static_cast<unsigned>(IFF_TAP), static_cast<unsigned>(IFF_TAP));
  EXPECT_NE(flags & IFF_VNET_HDR, 0U);
  EXPECT_NE(flags & IFF_NO_PI, 0U);
  EXPECT_EQ(flags & IFF_MULTI_QUEUE, 0U);
}

TEST_F(TapTest, TapIsOpenedByItsOwnerAndNobodyElse) {
  attach("vm", tap_config());
  EXPECT_EQ(open_tap(pod("vm").path(), "tap0", 1234, false).error, EPERM);
  EXPECT_EQ(open_tap(pod("vm").path(), "tap0", 107, true).error, EINVAL) << "a single-queue tap";
  EXPECT_EQ(open_tap(pod("vm").path(), "tap0", 107, false).error, 0);
}

TEST_F(TapTest, OwnerGroupAndQueuesOfTheConfig) {
  attach("vm", tap_config({{"owner", 1000}, {"group", 1001}, {"queues", 4}}));
  EXPECT_EQ(in_sysfs(pod("vm"), "tap0/owner"), "1000\n");
  EXPECT_EQ(in_sysfs(pod("vm"), "tap0/group"), "1001\n");
  EXPECT_NE(std::stoul(in_sysfs(pod("vm"), "tap0/tun_flags"), nullptr, 16) & IFF_MULTI_QUEUE, 0U);
  EXPECT_EQ(open_tap(pod("vm").path(), "tap0", 107, true).error, EPERM);
  EXPECT_EQ(open_tap(pod("vm").path(), "tap0", 1000, false).error, EINVAL) << "a multi-queue tap";
}

// How many queues a tap is opened with is fixed when it is made: libvirt must be told the same.
TEST_F(TapTest, F050_TapIsOpenedWithTheQueuesThatWereAskedForAndNotOtherwise) {
  for (const int queues : {1, 2, 8}) {
    const std::string name = "vm" + std::to_string(queues);
    Json conf = tap_config({{"queues", queues}});
    conf.erase("mac");
    attach(name, conf);
    const bool multi = queues > 1;
    std::vector<TapOpening> open;
    for (int i = 0; i < queues; i++) {
      open.push_back(open_tap(pod(name).path(), "tap0", 107, multi));
      EXPECT_EQ(open.back().error, 0) << "queue " << i << " of " << queues;
    }
    EXPECT_EQ(open_tap(pod(name).path(), "tap0", 107, !multi).error, EINVAL) << queues;
  }
}

TEST_F(TapTest, OwnerOfTheNodeConfig) {
  configure_node({{"ownerUid", 2000}, {"ownerGid", 2001}});
  attach("vm", tap_config());
  EXPECT_EQ(in_sysfs(pod("vm"), "tap0/owner"), "2000\n");
  EXPECT_EQ(in_sysfs(pod("vm"), "tap0/group"), "2001\n");
}

TEST_F(TapTest, TapNamesFollowThePodInterface) {
  make_pod("vm");
  for (const char* ifname : {"eth0", "net1", "net17", "pod37a8eec1ce1", "other0"}) {
    Json conf = tap_config();
    conf.erase("mac");
    ASSERT_CNI_OK(add(pod("vm"), conf, "vm", ifname));
    EXPECT_FALSE(link_of(pod("vm").path(), names::tap_link(ifname)).is_null()) << ifname;
  }
}

TEST_F(TapTest, PodLinkCarriesMacAndMtuAndNothingElse) {
  const Json result = attach("vm", tap_config({{"isDefaultGateway", true}}));
  for (const char* name : {"eth0", "tap0"}) {
    const Json link = link_of(pod("vm").path(), name);
    EXPECT_EQ(link["mtu"], 1450) << name;
    EXPECT_EQ(link["inet6_addr_gen_mode"], "none") << name;
    EXPECT_EQ(sysctl_of(pod("vm"), std::string("ipv6/conf/") + name + "/disable_ipv6"), "1\n") << name;
    const Json& flags = link["flags"];
    EXPECT_NE(std::ranges::find(flags, "NOARP"), flags.end()) << name;
    EXPECT_NE(std::ranges::find(flags, "UP"), flags.end()) << name;
    EXPECT_EQ(ip_json(pod("vm").path(), {"addr", "show", "dev", name})[0]["addr_info"], Json::array())
        << name;
  }
  EXPECT_EQ(link_of(pod("vm").path(), "eth0")["address"], kGuestMac);
  EXPECT_TRUE(ip_json(pod("vm").path(), {"route"}).empty()) << "routes are the guest's";
  EXPECT_EQ(result["ips"].size(), 1U);
  EXPECT_EQ(result["routes"][0]["dst"], "0.0.0.0/0") << "they are in the result";
}

TEST_F(TapTest, FramesPassBothWaysUntouched) {
  attach("vm", tap_config());
  attach_container("c");
  const FakeGuest guest(pod("vm").path(), "tap0", *MacAddress::parse(kGuestMac));
  const PacketSocket container(pod("c").path(), "eth0");
  const MacAddress container_mac =
      *MacAddress::parse(link_of(pod("c").path(), "eth0")["address"].get<std::string>());

  const Frame from_guest =
      make_test_frame(container_mac, guest.mac(), "from the guest " + std::string(1000, 'g'));
  guest.send(from_guest);
  const auto arrived =
      container.receive([](const Frame& frame) { return carries(frame, "from the guest"); }, seconds(2));
  ASSERT_TRUE(arrived);
  EXPECT_EQ(*arrived, from_guest);

  const Frame to_guest =
      make_test_frame(guest.mac(), container_mac, "to the guest " + std::string(1000, 'c'));
  container.send(to_guest);
  const auto received =
      guest.receive([](const Frame& frame) { return carries(frame, "to the guest"); }, seconds(2));
  ASSERT_TRUE(received);
  EXPECT_EQ(*received, to_guest);
}

TEST_F(TapTest, BroadcastMulticastAndTheLargestFramePass) {
  attach("vm", tap_config());
  attach_container("c");
  const FakeGuest guest(pod("vm").path(), "tap0", *MacAddress::parse(kGuestMac));
  const PacketSocket container(pod("c").path(), "eth0");
  const MacAddress multicast = *MacAddress::parse("01:00:5e:00:00:fb");
  for (const MacAddress& destination : {broadcast_mac(), multicast}) {
    for (const std::size_t size : {std::size_t{1}, std::size_t{1450}}) {
      const std::string text = "m" + std::string(size - 1, 'x');
      guest.send(make_test_frame(destination, guest.mac(), text));
      EXPECT_TRUE(container.receive(
          [&](const Frame& f) { return destination_of(f) == destination && carries(f, text); }, seconds(2)))
          << destination.to_string() << " of " << size;
      container.send(make_test_frame(destination, MacAddress::derived("c"), text));
      EXPECT_TRUE(guest.receive(
          [&](const Frame& f) { return destination_of(f) == destination && carries(f, text); }, seconds(2)))
          << destination.to_string() << " of " << size;
    }
  }
}

TEST_F(TapTest, ContainerPingsTheGuestAtItsAddress) {
  const Json result = attach("vm", tap_config());
  attach_container("c");
  FakeGuest guest(pod("vm").path(), "tap0", *MacAddress::parse(kGuestMac));
  guest.serve(*IpAddress::parse(guest_address(result)));
  const PingResult small = reach(pod("c").path(), guest_address(result), {.count = 20});
  EXPECT_TRUE(small.all()) << small.output;
  const PingResult full =
      reach(pod("c").path(), guest_address(result), {.payload = 1450 - 28, .dont_fragment = true});
  EXPECT_TRUE(full.all()) << full.output;
}

TEST_F(TapTest, GatewayPingsTheGuest) {
  const Json result = attach("vm", tap_config({{"isGateway", true}}));
  FakeGuest guest(pod("vm").path(), "tap0", *MacAddress::parse(kGuestMac));
  guest.serve(*IpAddress::parse(guest_address(result)));
  const PingResult reply = reach("", guest_address(result));
  EXPECT_TRUE(reply.all()) << reply.output;
}

TEST_F(TapTest, TwoGuestsTalkToEachOther) {
  attach("vm1", tap_config());
  attach("vm2", tap_config({{"mac", "02:00:00:00:02:07"}}));
  const FakeGuest first(pod("vm1").path(), "tap0", *MacAddress::parse(kGuestMac));
  const FakeGuest second(pod("vm2").path(), "tap0", *MacAddress::parse("02:00:00:00:02:07"));
  first.send(make_test_frame(second.mac(), first.mac(), "one to two"));
  EXPECT_TRUE(second.receive([](const Frame& frame) { return carries(frame, "one to two"); }, seconds(2)));
  second.send(make_test_frame(first.mac(), second.mac(), "two to one"));
  EXPECT_TRUE(first.receive([](const Frame& frame) { return carries(frame, "two to one"); }, seconds(2)));
}

// The sniffer is a port of the bridge that stood there before, with IPv6 on wherever the kernel has it on by
// default.
TEST_F(TapTest, NoFrameWithTheGuestsMacLeavesBeforeTheGuestSends) {
  must({"ip", "link", "add", "br1", "address", "02:00:00:00:00:b1", "mtu", "1500", "type", "bridge"});
  must({"ip", "link", "set", "br1", "up"});
  must({"ip", "link", "add", "sniff0", "type", "veth", "peer", "name", "sniff1"});
  must({"ip", "link", "set", "sniff0", "master", "br1", "up"});
  must({"ip", "link", "set", "sniff1", "up"});
  const PacketSocket on_port("", "sniff1");
  const PacketSocket on_bridge("", "br1");
  Pod& vm = make_pod("vm");
  ASSERT_TRUE(
      vm.run({"sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.conf.default.disable_ipv6=0"})
          .ok());
  ASSERT_CNI_OK(add(vm, tap_config(), "vm"));
  std::vector<Frame> heard = on_port.collect(kSilence);
  // QEMU opening the tap gives it carrier, which is when a kernel would announce itself.
  const FakeGuest guest(vm.path(), "tap0", *MacAddress::parse(kGuestMac));
  for (Frame& frame : on_port.collect(kSilence)) heard.push_back(std::move(frame));
  for (Frame& frame : on_bridge.collect(milliseconds(0))) heard.push_back(std::move(frame));
  const MacAddress tap_mac = *MacAddress::parse(link_of(vm.path(), "tap0")["address"].get<std::string>());
  for (const Frame& frame : heard) {
    EXPECT_NE(source_of(frame), guest.mac());
    EXPECT_NE(source_of(frame), tap_mac);
  }
  guest.send(make_test_frame(broadcast_mac(), guest.mac(), "first word"));
  EXPECT_TRUE(
      on_port.receive([&](const Frame& frame) { return source_of(frame) == guest.mac(); }, seconds(2)))
      << "a sniffer that hears nothing at all proves nothing";
}

TEST_F(TapTest, PodsOwnStackNeitherHearsNorAnswersTheGuest) {
  const Json result = attach("vm", tap_config());
  attach_container("c");
  const FakeGuest guest(pod("vm").path(), "tap0", *MacAddress::parse(kGuestMac));
  const PacketSocket container(pod("c").path(), "eth0");
  // Nobody serves: an ARP request for the guest's address must stay unanswered.
  EXPECT_EQ(ping(pod("c").path(), guest_address(result), {.count = 1}).received, 0);
  EXPECT_FALSE(container.receive([&](const Frame& frame) { return source_of(frame) == guest.mac(); },
                                 milliseconds(300)));
}

TEST_F(TapTest, GuestThatReopensItsTapIsConnectedAgain) {
  attach("vm", tap_config());
  attach_container("c");
  const PacketSocket container(pod("c").path(), "eth0");
  for (const char* text : {"first start", "second start"}) {
    const FakeGuest guest(pod("vm").path(), "tap0", *MacAddress::parse(kGuestMac));
    guest.send(make_test_frame(broadcast_mac(), guest.mac(), text));
    EXPECT_TRUE(container.receive([&](const Frame& frame) { return carries(frame, text); }, seconds(2)))
        << text;
  }
}

TEST_F(TapTest, DelRemovesAllWhileTheGuestStillHoldsTheTap) {
  make_pod("vm");
  const Snapshot before = take_snapshot(node(), ipam_dir(), pods());
  const CniOutcome added = add(pod("vm"), tap_config(), "vm");
  ASSERT_CNI_OK(added);
  {
    const FakeGuest guest(pod("vm").path(), "tap0", *MacAddress::parse(kGuestMac));
    ASSERT_CNI_OK(del(pod("vm").path(), tap_config(), "vm"));
    EXPECT_SNAP_CLEAN(before, take_snapshot(node(), ipam_dir(), pods()));
  }
  EXPECT_SNAP_CLEAN(before, take_snapshot(node(), ipam_dir(), pods()));
}

// Tap and veth are removed by their group, which a pod can change.
TEST_F(TapTest, DelLeavesALinkThatThePodPutIntoTheGroup) {
  Pod& vm = make_pod("vm");
  ASSERT_CNI_OK(add(vm, tap_config(), "vm"));
  const std::string group = link_of(vm.path(), "tap0").value("group", "");
  EXPECT_NE(group, "default");
  EXPECT_EQ(link_of(vm.path(), "eth0").value("group", ""), group);
  ASSERT_TRUE(vm.run({"ip", "tuntap", "add", "mine", "mode", "tap"}).ok());
  ASSERT_TRUE(vm.run({"ip", "link", "set", "mine", "group", group}).ok());
  ASSERT_CNI_OK(del(vm.path(), tap_config(), "vm"));
  EXPECT_EQ(link_names(vm.path()), (std::vector<std::string>{"lo", "mine"}));
}

}  // namespace
}  // namespace vmlane::test
