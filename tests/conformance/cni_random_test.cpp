// SPDX-License-Identifier: Apache-2.0
// Field case F022: workers that add, delete, check and collect garbage at random, over a range of addresses
// too small for all of them. Both lanes share one network. Whatever order they come in, no address is held
// twice, none is lost, and every attachment that is there carries traffic.
#include <array>
#include <atomic>
#include <filesystem>
#include <list>
#include <random>
#include <set>
#include <thread>

#include "core/names.h"
#include "tests/support/guest.h"
#include "tests/support/long_run.h"
#include "tests/support/plugin.h"
#include "tests/support/snapshot.h"
#include "tests/support/traffic.h"

namespace vmlane::test {
namespace {

namespace fs = std::filesystem;

constexpr int kWorkers = 8;
constexpr int kAddresses = 10;        // for 2 * kWorkers attachments
constexpr int kOperationsARound = 5;  // of one worker, between two looks at the whole node

// One attachment and what its owner knows of it.
struct Member {
  std::string container;
  std::string plugin;
  Json result;  // of the ADD; null while there is none

  bool live() const { return !result.is_null(); }
  std::string address() const {
    const std::string text = result["ips"][0]["address"];
    return text.substr(0, text.find('/'));
  }
  std::string mac() const { return result["interfaces"][2]["mac"]; }
};

class RandomTest : public PluginFixture {
 protected:
  std::string plugin() const override { return "vmlane-veth"; }  // of config(); members have their own

  void SetUp() override {
    PluginFixture::SetUp();
    if (IsSkipped()) return;
    for (int worker = 0; worker < kWorkers; worker++) {
      for (const char* lane : {"vmlane-veth", "vmlane-tap"}) {
        const std::string container = "w" + std::to_string(worker) + lane[7];
        make_pod(container);
        members_[static_cast<std::size_t>(worker)].push_back({container, lane, nullptr});
      }
    }
  }

  Json conf_of(const Member& member) const {
    Json ipam = host_local();
    ipam["ranges"][0][0]["rangeStart"] = "192.0.2.11";
    ipam["ranges"][0][0]["rangeEnd"] = "192.0.2." + std::to_string(10 + kAddresses);
    return config({{"type", member.plugin}, {"isGateway", true}, {"ipam", ipam}});
  }
  CniOutcome perform(const std::string& command, const Member& member, const Json& keys = Json::object()) {
    Json conf = conf_of(member);
    conf.update(keys);
    return run_plugin(member.plugin, call(command, "/run/netns/" + member.container, conf, member.container),
                      node_json());
  }

  void add(Member& member) {
    const CniOutcome outcome = perform("ADD", member);
    if (member.live()) {
      EXPECT_CNI_ERROR(outcome, Code::kConflict);
    } else if (outcome.ok()) {
      added_++;
      member.result = *outcome.document;
    } else {
      full_++;
      EXPECT_NE(outcome.message().find("no IP addresses available"), std::string::npos) << outcome;
    }
  }
  void del(Member& member) {
    EXPECT_CNI_OK(perform("DEL", member));
    member.result = nullptr;
  }
  void check(const Member& member) {
    if (member.live()) {
      EXPECT_CNI_OK(perform("CHECK", member, {{"prevResult", member.result}}));
    } else {
      EXPECT_CNI_ERROR(perform("CHECK", member, {{"prevResult", {{"cniVersion", "1.1.0"}}}}),
                       Code::kUnknownContainer);
    }
  }
  // The runtime lists everybody but this one.
  void collect(Member& member) {
    Json valid = Json::array();
    for (const auto& own : members_) {
      for (const Member& other : own) {
        if (other.container != member.container)
          valid.push_back({{"containerID", other.container}, {"ifname", "eth0"}});
      }
    }
    EXPECT_CNI_OK(perform("GC", member, {{"cni.dev/valid-attachments", valid}}));
    member.result = nullptr;
  }
  void do_anything(Member& member, std::mt19937& random) {
    const auto draw = random() % 100;
    const unsigned more_adds = member.live() ? 10 : 60;
    if (draw < more_adds) return add(member);
    if (draw < more_adds + 25) return del(member);
    if (draw < 90) return check(member);
    collect(member);
  }

  void run_round(int round) {
    std::vector<std::jthread> workers;
    for (int worker = 0; worker < kWorkers; worker++) {
      workers.emplace_back([this, worker, round] {
        std::mt19937 random(static_cast<unsigned>(round * kWorkers + worker));
        auto& own = members_[static_cast<std::size_t>(worker)];
        for (int i = 0; i < kOperationsARound; i++) do_anything(own[random() % own.size()], random);
      });
    }
  }

  Snapshot snapshot() const { return take_snapshot(node(), ipam_dir(), pods()); }
  std::vector<const Member*> live_members() const {
    std::vector<const Member*> live;
    for (const auto& own : members_) {
      for (const Member& member : own) {
        if (member.live()) live.push_back(&member);
      }
    }
    return live;
  }
  // What the node holds is what the workers know to be there.
  void expect_consistent() const {
    std::set<std::string> addresses;
    std::set<std::string> records;
    for (const Member* member : live_members()) {
      EXPECT_TRUE(addresses.insert(member->address()).second) << member->address() << " is held twice";
      records.insert(names::attachment_id("blue", member->container, "eth0") + ".json");
    }
    const auto reserved = reserved_addresses();
    EXPECT_EQ(std::set<std::string>(reserved.begin(), reserved.end()), addresses);
    std::set<std::string> found;
    std::error_code none_yet;
    for (const auto& entry : fs::directory_iterator(node().attachments_dir(), none_yet))
      found.insert(entry.path().filename());
    EXPECT_EQ(found, records);
    std::size_t ports = 0;
    for (const Json& link : ip_json("", {"link"})) ports += link.value("master", "") == "br1" ? 1 : 0;
    EXPECT_EQ(ports, addresses.size());
    EXPECT_EQ(link_of("", "br1").is_null(), addresses.empty());
  }
  void expect_all_ping() const {
    std::list<FakeGuest> guests;
    for (const Member* member : live_members()) {
      if (member->plugin != "vmlane-tap") continue;
      guests.emplace_back("/run/netns/" + member->container, "tap0", *MacAddress::parse(member->mac()));
      const IpAddress address = *IpAddress::parse(member->address());
      guests.back().send(make_arp_announcement(guests.back().mac(), address));
      guests.back().serve(address);
    }
    for (const Member* member : live_members()) {
      EXPECT_TRUE(reach("", member->address(), {.count = 1}).all())
          << member->container << " does not answer at " << member->address();
    }
  }

  std::array<std::vector<Member>, kWorkers> members_;
  std::atomic<int> added_ = 0;
  std::atomic<int> full_ = 0;
};

TEST_F(RandomTest, F022_ThousandRandomOperationsLoseNoAddressAndHoldNoneTwice) {
  const Snapshot before = snapshot();
  const int count = rounds(5, 25);
  for (int round = 0; round < count && !HasFailure(); round++) {
    SCOPED_TRACE("round " + std::to_string(round));
    run_round(round);
    expect_consistent();
    expect_all_ping();
  }
  EXPECT_GT(added_, count);
  EXPECT_GT(full_, 0) << "the range never ran full";
  for (auto& own : members_) {
    for (Member& member : own) del(member);
  }
  EXPECT_SNAP_CLEAN(before, snapshot());
}

}  // namespace
}  // namespace vmlane::test
