// SPDX-License-Identifier: Apache-2.0
// Guests that do not keep to the rules: they may harm themselves, never the switch or a neighbour.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <random>

#include "tests/dataplane/switch_test.h"
#include "tests/support/long_run.h"

namespace vmlane::test {
namespace {

using vhost_user::Request;

class HostileGuest : public SwitchTest {
 protected:
  void SetUp() override {
    SwitchTest::SetUp();
    if (IsSkipped()) return;
    start_switch();
    a_ = connect_nic("a", inside());
    b_ = connect_nic("b", inside());
    attacker_ = make_nic("x", inside());
  }
  // The switch runs, and the others' frames pass.
  void expect_unharmed(const std::string& text) {
    ASSERT_TRUE(process().running()) << slurp(directory() / "switch.out");
    EXPECT_TRUE(passes(a_, b_, text));
    EXPECT_TRUE(passes(b_, a_, text));
  }
  // The attacker's NIC, as after a restart of its VM.
  void restart_attacker() {
    const std::string socket = attacker_.result["interfaces"].back().value("socketPath", "");
    attacker_.guest.reset();
    attacker_.guest = *lab::VhostFrontend::listen({.socket = socket});
    const auto accepted = attacker_.guest->accept(std::chrono::seconds(30));
    ASSERT_TRUE(accepted) << accepted.error().text();
  }

  Nic a_;
  Nic b_;
  Nic attacker_;
};

TEST_F(HostileGuest, MessagesOutOfOrderAndOfAnyContent) {
  std::mt19937 random(20);
  const int sessions = rounds(20, 2000);
  for (int session = 0; session < sessions; session++) {
    restart_attacker();
    for (int i = 0; i < 20; i++) {
      std::vector<std::uint8_t> payload(random() % 64 * 4);
      for (auto& byte : payload) byte = static_cast<std::uint8_t>(random() % 3 == 0 ? random() : 0);
      const auto request = static_cast<Request>(random() % 44);
      std::vector<int> descriptors;
      if (random() % 4 == 0) descriptors.push_back(attacker_.guest->kick_descriptor(0));
      if (!attacker_.guest->send_message(request, payload, descriptors)) break;  // it hung up on us
    }
  }
  expect_unharmed("after strange messages");
  restart_attacker();
  EXPECT_TRUE(passes(a_, attacker_, "who behaves is served again"));
}

TEST_F(HostileGuest, RingsThatLeadAnywhere) {
  std::mt19937 random(21);
  restart_attacker();
  ASSERT_TRUE(eventually([&] { return port_of(attacker_).value("pairs", 0U) > 0; }, kPatience));
  constexpr unsigned kTransmit = 1;
  const std::uint64_t one = 1;
  const int attacks = rounds(300, 100'000);
  for (int i = 0; i < attacks; i++) {
    const auto memory = attacker_.guest->memory();
    auto* descriptors = &memory[attacker_.guest->descriptor_table(kTransmit)];
    auto* available = &memory[attacker_.guest->available_ring(kTransmit)];
    // Descriptors with addresses, lengths, flags and successors of any kind, and more of them than there are.
    for (int j = 0; j < 16; j++) {
      const std::uint64_t address =
          random() % 2 == 0 ? random() % memory.size() : std::uint64_t{random()} << 20;
      const std::uint32_t length = random() % 3 == 0 ? random() : random() % 3000;
      const auto flags = static_cast<std::uint16_t>(random() % 8);
      const auto next = static_cast<std::uint16_t>(random() % 4 == 0 ? random() : random() % 16);
      std::memcpy(descriptors + 16 * j, &address, sizeof address);
      std::memcpy(descriptors + 16 * j + 8, &length, sizeof length);
      std::memcpy(descriptors + 16 * j + 12, &flags, sizeof flags);
      std::memcpy(descriptors + 16 * j + 14, &next, sizeof next);
    }
    for (int j = 0; j < 8; j++) {
      const auto head = static_cast<std::uint16_t>(random() % 8 == 0 ? random() : random() % 16);
      std::memcpy(available + 4 + 2 * (random() % 256), &head, sizeof head);
    }
    const auto index = static_cast<std::uint16_t>(random());
    std::memcpy(available + 2, &index, sizeof index);
    ASSERT_EQ(::write(attacker_.guest->kick_descriptor(kTransmit), &one, sizeof one), ssize_t{sizeof one});
    if (i % 50 == 0) expect_unharmed("during attack " + std::to_string(i));
    // Or the first one would be the last.
    if (port_of(attacker_).contains("quarantined")) ask("release", {{"port", id_of(attacker_)}});
  }
  expect_unharmed("after all attacks");
  restart_attacker();
  EXPECT_TRUE(eventually([&] { return port_of(attacker_).value("pairs", 0U) > 0; }, kPatience));
  EXPECT_TRUE(passes(a_, attacker_, "who behaves is served again"));
}

// Each of them alone, on a ring that is otherwise a driver's.
class Misbehaviour : public HostileGuest {
 protected:
  static constexpr unsigned kTransmit = 1;
  static constexpr std::uint16_t kSize = 256;

  void SetUp() override {
    HostileGuest::SetUp();
    if (IsSkipped()) return;
    restart_attacker();
    ASSERT_TRUE(eventually([&] { return port_of(attacker_).value("pairs", 0U) > 0; }, kPatience));
    ASSERT_TRUE(passes(attacker_, a_, "a guest like others"));
  }
  void write_descriptor(std::uint16_t place, std::uint64_t address, std::uint32_t length, std::uint16_t flags,
                        std::uint16_t next) {
    auto* at = &attacker_.guest->memory()[attacker_.guest->descriptor_table(kTransmit) + 16U * place];
    std::memcpy(at, &address, sizeof address);
    std::memcpy(at + 8, &length, sizeof length);
    std::memcpy(at + 12, &flags, sizeof flags);
    std::memcpy(at + 14, &next, sizeof next);
  }
  // One entry more, or as many as `more` says.
  void offer(std::uint16_t head, std::uint16_t more = 1) {
    auto* available = &attacker_.guest->memory()[attacker_.guest->available_ring(kTransmit)];
    std::uint16_t index = 0;
    std::memcpy(&index, available + 2, sizeof index);
    std::memcpy(available + 4 + 2U * (index % kSize), &head, sizeof head);
    index = static_cast<std::uint16_t>(index + more);
    std::memcpy(available + 2, &index, sizeof index);
    kick();
  }
  void kick() {
    const std::uint64_t one = 1;
    ASSERT_EQ(::write(attacker_.guest->kick_descriptor(kTransmit), &one, sizeof one), ssize_t{sizeof one});
  }
  void expect_quarantine(const std::string& reason) {
    EXPECT_TRUE(eventually(
        [&] { return port_of(attacker_).value("quarantined", "").find(reason) != std::string::npos; },
        kPatience))
        << reason << port_of(attacker_);
    const Json port = port_of(attacker_);
    EXPECT_EQ(port.value("quarantined_by", ""), "switch");
    EXPECT_EQ(port.value("quarantines", 0), 1);
    EXPECT_NE(
        ask("metrics").get<std::string>().find("by=\"switch\",reason=\"" + port.value("quarantined", "")),
        std::string::npos);
    EXPECT_NE(slurp(log_file()).find(reason), std::string::npos);
    expect_unharmed("beside the quarantine");
    // It ends with the driver.
    const auto restarted = attacker_.guest->restart_driver(lab::VirtioFeatures::kAll);
    ASSERT_TRUE(restarted) << restarted.error().text();
    ASSERT_TRUE(eventually([&] { return !port_of(attacker_).contains("quarantined"); }, kPatience));
    EXPECT_TRUE(passes(attacker_, a_, "a driver that behaves"));
    EXPECT_TRUE(passes(a_, attacker_, "and gets its frames"));
  }
};

TEST_F(Misbehaviour, AnIndexBeyondTheRing) {
  offer(0, kSize + 5000);
  expect_quarantine("more entries");
}

TEST_F(Misbehaviour, AHeadThatIsNoDescriptor) {
  offer(kSize);
  expect_quarantine("does not exist");
}

TEST_F(Misbehaviour, ADescriptorOfForeignMemory) {
  write_descriptor(0, std::uint64_t{1} << 40, 100, 0, 0);
  offer(0);
  expect_quarantine("memory");
}

TEST_F(Misbehaviour, AChainWithoutAnEnd) {
  const std::uint64_t address = attacker_.guest->descriptor_table(kTransmit);
  write_descriptor(0, address, 16, 1, 1);
  write_descriptor(1, address, 16, 1, 0);
  offer(0);
  expect_quarantine("chain");
}

TEST_F(Misbehaviour, KicksInVain) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (std::chrono::steady_clock::now() < deadline) {
    for (int i = 0; i < 20'000; i++) kick();
    if (port_of(attacker_).contains("quarantined")) break;
  }
  expect_quarantine("notifying");
}

TEST_F(Misbehaviour, AnOperatorReleasesItWithoutTheGuest) {
  const std::uint64_t address = attacker_.guest->descriptor_table(kTransmit);
  write_descriptor(0, std::uint64_t{1} << 40, 100, 0, 0);
  offer(0);
  ASSERT_TRUE(eventually([&] { return port_of(attacker_).contains("quarantined"); }, kPatience));
  ASSERT_TRUE(switch_command({"release", id_of(attacker_)}).ok());
  EXPECT_TRUE(eventually([&] { return port_of(attacker_).value("quarantines", 0) == 2; }, kPatience))
      << "it does as before: " << port_of(attacker_);
  write_descriptor(0, address, 100, 0, 0);
  ASSERT_TRUE(switch_command({"release", id_of(attacker_)}).ok());
  EXPECT_TRUE(passes(a_, attacker_, "released"));
  EXPECT_FALSE(port_of(attacker_).contains("quarantined"));
}

TEST_F(HostileGuest, ClientsOfTheControlSocketWithOddRequests) {
  const auto client = [this](const std::string& text) {
    return run({"socat", "-t", "2", "-", "UNIX-CONNECT:" + node().switch_socket().string()}, {.input = text})
        .out;
  };
  EXPECT_NE(client("nonsense\n").find("-32700"), std::string::npos);
  EXPECT_NE(client("{\"jsonrpc\":\"2.0\",\"id\":1}\n").find("-32600"), std::string::npos);
  EXPECT_NE(client("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"none\"}\n").find("-32601"), std::string::npos);
  client(std::string(1 << 20, 'x'));
  expect_unharmed("after odd requests");
}

}  // namespace
}  // namespace vmlane::test
