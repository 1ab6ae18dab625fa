// SPDX-License-Identifier: Apache-2.0
// The policy stage in the kernel: the same as native code for every packet of the same sequence, under tables
// that change meanwhile.
#include <algorithm>
#include <map>
#include <random>

#include "core/names.h"
#include "policy/native_stage.h"
#include "policy/reader.h"
#include "policy/store.h"
#include "tests/support/host.h"
#include "tests/support/kernel_stage.h"
#include "tests/support/long_run.h"
#include "tests/support/policy_frames.h"
#include "tests/support/policy_world.h"
#include "tests/support/result.h"

namespace vmlane::test {
namespace {

using policy::NativeStage;

// So many that none is crowded out: the two sides sort them into sets by seeds of their own.
constexpr std::size_t kConnections = 1 << 15;

class PolicyStageTest : public HostFixture {
 protected:
  void SetUp() override {
    HostFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    stage_.emplace(node(), kConnections);
  }
  // A workload that was not there before.
  void introduce(std::uint32_t flags) {
    stage_->tables().flush();
    const std::uint32_t last = workload_.incarnation;
    workload_ = {};
    workload_.incarnation = last + 1;
    native_ = NativeStage(kConnections, 1);
    workload_.flags = flags;
    stage_->set_workload(workload_);
  }
  // Puts what the store has to say in force, here and there; false when it does not know the workload any
  // more.
  bool publish(policy::Store& store, const std::string& pod, const std::string& network) {
    const policy::Publication publication = store.publish();
    const auto endpoint = store.endpoint(pod, network);
    if (!endpoint) return false;
    generation_++;
    if (publication.whole || block_.empty()) {
      block_.assign(publication.block.begin(), publication.block.end());
      EXPECT_TRUE(succeeded(stage_->tables().publish(generation_, block_, {})));
    } else {
      changes_++;
      EXPECT_TRUE(succeeded(stage_->tables().change(generation_, publication.phases.size(),
                                                    [&](std::size_t phase, std::span<std::uint64_t> block) {
                                                      policy::write_phase(block, publication.phases[phase]);
                                                      policy::write_phase(block_, publication.phases[phase]);
                                                    })));
    }
    const std::uint64_t number = std::uint64_t{workload_.incarnation} << 32 | (*endpoint + 1);
    workload_.endpoint[0] = number;
    workload_.endpoint[1] = number;
    stage_->set_workload(workload_);
    native_.use_tables({block_.data(), static_cast<std::uint32_t>(block_.size() * sizeof(block_[0]))},
                       static_cast<std::uint32_t>(generation_));
    return true;
  }
  NativeStage::Outcome natively(const Frame& frame, bool egress) {
    return native_.decide(frame, workload_, egress ? VMLANE_POLICY_EGRESS : VMLANE_POLICY_INGRESS,
                          stage_ticks(), true);
  }

  std::optional<KernelStage> stage_;
  NativeStage native_{kConnections, 1};
  vmlane_policy_workload workload_{};
  std::vector<std::uint64_t> block_;
  std::uint64_t generation_ = 0;
  int changes_ = 0;  // that were no whole blocks
};

policy::Objects read(const std::vector<Json>& json) {
  policy::Objects objects;
  for (const Json& object : json) policy::add_object(objects, object, "random");
  return objects;
}

// Packets of a few flows between an endpoint and others, in any order, shape and state.
class Traffic {
 public:
  Traffic(unsigned seed, const policy::Objects& objects, const policy::PodInterface& own)
      : random_(seed), own_(own.addresses) {
    for (const auto& [id, pod] : objects.pods) {
      for (const policy::PodInterface& interface : pod.interfaces)
        others_.insert(others_.end(), interface.addresses.begin(), interface.addresses.end());
    }
    // Those of Services are among them.
    for (const char* address :
         {"203.0.113.0", "203.0.113.1", "203.0.113.2", "2001:db8:5::0", "2001:db8:5::1", "2001:db8:5::2",
          "192.0.2.9", "203.0.113.77", "10.0.0.1", "2001:db8::77", "2001:db8:1::5"})
      others_.push_back(*IpAddress::parse(address));
  }

  struct Packet {
    Frame frame;
    bool egress = false;
    PacketSpec spec;
  };
  Packet next() {
    Packet packet;
    packet.egress = chance(50);
    packet.spec = spec(packet.egress);
    packet.frame = make_packet(packet.spec);
    // A test run takes no less than an IP header.
    if (chance(3))
      packet.frame.resize(
          std::min<std::size_t>(packet.frame.size(), 54U + static_cast<std::size_t>(below(12))));
    return packet;
  }

 private:
  int below(int count) { return std::uniform_int_distribution<int>(0, count - 1)(random_); }
  bool chance(int percent) { return below(100) < percent; }

  PacketSpec spec(bool egress) {
    PacketSpec spec;
    const IpAddress own = own_[static_cast<std::size_t>(below(static_cast<int>(own_.size())))];
    IpAddress other = own;
    do other = others_[static_cast<std::size_t>(below(static_cast<int>(others_.size())))];
    while (other.v6 != own.v6);
    spec.source = egress ? own : other;
    spec.destination = egress ? other : own;
    static constexpr std::array<std::uint8_t, 7> kProtocols = {6, 6, 6, 17, 17, 132, 1};
    spec.protocol = kProtocols[static_cast<std::size_t>(below(7))];
    if (spec.protocol == 1 && own.v6) spec.protocol = 58;
    static constexpr std::array<std::uint16_t, 6> kPorts = {80, 81, 53, 8080, 67, 68};
    const std::uint16_t port = kPorts[static_cast<std::size_t>(below(6))];
    const auto client = static_cast<std::uint16_t>(40000 + below(2));
    const bool from_client = chance(60);
    spec.source_port = from_client ? client : port;
    spec.destination_port = from_client ? port : client;
    static constexpr std::array<std::uint8_t, 6> kFlags = {0x02, 0x12, 0x10, 0x18, 0x11, 0x04};
    spec.tcp_flags = kFlags[static_cast<std::size_t>(below(chance(80) ? 4 : 6))];
    shape(spec);
    return spec;
  }
  void shape(PacketSpec& spec) {
    const bool v6 = spec.source.v6;
    if (chance(10)) spec.tags = 1 + below(4);
    if (chance(10) && !v6) spec.ip_options = 1 + below(10);
    if (chance(15) && v6) {
      static constexpr std::array<std::uint8_t, 5> kHeaders = {0, 43, 60, 51, 135};
      for (int i = 0; i <= below(chance(90) ? 4 : 12); i++)
        spec.extensions.push_back(kHeaders[static_cast<std::size_t>(below(5))]);
    }
    if (chance(12)) {
      spec.fragmented = true;
      spec.fragment_id = static_cast<std::uint32_t>(below(3));
      spec.fragment_place = static_cast<std::uint16_t>(chance(50) ? 0 : 1 + below(3));
      spec.more_fragments = chance(60);
    }
    const bool icmp = spec.protocol == (v6 ? 58 : 1);
    if (icmp && chance(70)) {
      static constexpr std::array<std::uint8_t, 5> kTypes4 = {0, 3, 11, 12, 13};
      static constexpr std::array<std::uint8_t, 7> kTypes6 = {129, 1, 2, 4, 135, 143, 137};
      spec.icmp_type =
          v6 ? kTypes6[static_cast<std::size_t>(below(7))] : kTypes4[static_cast<std::size_t>(below(5))];
      spec.quoted = quoted_.empty()
                        ? Frame()
                        : quoted_[static_cast<std::size_t>(below(static_cast<int>(quoted_.size())))];
    } else if (quoted_.size() < 64) {
      quoted_.push_back(quote_of(spec));
    } else {
      quoted_[static_cast<std::size_t>(below(64))] = quote_of(spec);
    }
  }

  std::mt19937 random_;
  std::vector<IpAddress> own_;
  std::vector<IpAddress> others_;
  std::vector<Frame> quoted_;
};

// A pod of them and what it has on a network, with an address.
std::optional<std::pair<std::string, policy::PodInterface>> choose(const policy::Objects& objects, int seed) {
  std::vector<std::pair<std::string, policy::PodInterface>> found;
  for (const auto& [id, pod] : objects.pods) {
    for (const policy::PodInterface& interface : pod.interfaces) {
      if (pod.has_endpoints() && !interface.addresses.empty()) found.emplace_back(id, interface);
    }
  }
  if (found.empty()) return std::nullopt;
  return found[static_cast<std::size_t>(seed) % found.size()];
}

TEST_F(PolicyStageTest, KernelAndNativeCodeAgreeOnEveryPacketOfASequence) {
  std::map<std::string, int> seen;
  const int worlds = rounds(150, 100'000);
  constexpr int kPackets = 900;
  for (int seed = 0; seed < worlds; seed++) {
    PolicyWorld world(static_cast<unsigned>(seed));
    const policy::Objects objects = read(world.objects());
    policy::Store store;
    store.put(objects);
    const auto chosen = choose(objects, seed);
    if (!chosen) continue;
    introduce(seed % 3 == 0 ? VMLANE_STAGE_NO_NODE : 0);
    block_.clear();
    if (!publish(store, chosen->first, chosen->second.network)) continue;
    Traffic traffic(static_cast<unsigned>(seed), objects, chosen->second);
    for (int i = 0; i < kPackets; i++) {
      if (i % 300 == 299) {
        store.apply(policy::Change::of(world.random_policy(), "random"));
        if (!publish(store, chosen->first, chosen->second.network)) break;
      }
      const Traffic::Packet packet = traffic.next();
      const auto outcome = natively(packet.frame, packet.egress);
      const bool passes = stage_->passes(packet.frame, packet.egress);
      ASSERT_EQ(passes, outcome.passes())
          << "seed " << seed << ", packet " << i << (packet.egress ? ", egress " : ", ingress ")
          << packet.spec.source.to_string() << " to " << packet.spec.destination.to_string() << " protocol "
          << int{packet.spec.protocol} << " reason " << outcome.reason << " verdict "
          << outcome.answer.reason;
      seen[std::to_string(outcome.reason)]++;
    }
  }
  EXPECT_GT(changes_, 0);
  // Worth comparing only if most reasons are common.
  for (const int reason : {VMLANE_STAGE_PASS, VMLANE_STAGE_BY_POLICY, VMLANE_STAGE_MALFORMED,
                           VMLANE_STAGE_LOST_FRAGMENT, VMLANE_STAGE_NO_CONNECTION})
    EXPECT_GT(seen[std::to_string(reason)], 100) << reason;
}

// A rule more than there is room for: verdicts stay what they are, and that they are not counted is told.
TEST_F(PolicyStageTest, VerdictsThatCannotBeCountedAreToldAndStayWhatTheyAre) {
  stage_.reset();
  constexpr std::size_t kRooms = 2;
  stage_.emplace(node(), kConnections, kRooms);
  introduce(0);
  Json rules = Json::array();
  for (const int port : {80, 81, 82, 83}) rules.push_back({{"ports", {{{"port", port}}}}});
  policy::Store store;
  store.apply(policy::Change::of({{"apiVersion", "v1"},
                                  {"kind", "Pod"},
                                  {"metadata", {{"name", "a"}, {"namespace", "x"}}},
                                  {"status", {{"phase", "Running"}, {"podIP", "192.0.2.1"}}}},
                                 "test"));
  store.apply(policy::Change::of({{"apiVersion", "networking.k8s.io/v1"},
                                  {"kind", "NetworkPolicy"},
                                  {"metadata", {{"name", "p"}, {"namespace", "x"}}},
                                  {"spec", {{"podSelector", Json::object()}, {"ingress", rules}}}},
                                 "test"));
  ASSERT_TRUE(publish(store, "x/a", "default"));
  const auto enters = [&](int port) {
    return stage_->passes(make_packet({.source = *IpAddress::parse("192.0.2.9"),
                                       .destination = *IpAddress::parse("192.0.2.1"),
                                       .destination_port = static_cast<std::uint16_t>(port)}),
                          false);
  };
  EXPECT_TRUE(enters(80) && enters(81));
  EXPECT_EQ(stage_->tables().uncounted(), 0U);
  EXPECT_TRUE(enters(82) && enters(83));
  EXPECT_FALSE(enters(84));
  EXPECT_EQ(stage_->tables().uncounted(), 3U);
  EXPECT_EQ(stage_->tables().counters().size(), kRooms);
  store = policy::Store();
  ASSERT_TRUE(succeeded(stage_->tables().publish(generation_ + 1, block_, {})));
  EXPECT_EQ(stage_->tables().uncounted(), 0U) << "counters begin anew";
}

}  // namespace
}  // namespace vmlane::test
