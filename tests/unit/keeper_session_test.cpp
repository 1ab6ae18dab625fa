// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "keeper/channel.h"
#include "keeper/session.h"

namespace vmlane::test {
namespace {

using keeper::Channel;
using keeper::make_message;
using keeper::Message;
using keeper::Session;
using keeper::SharedFd;
using vhost_user::MemoryTable;
using vhost_user::Request;
using vhost_user::RingAddress;
using vhost_user::RingDescriptor;
using vhost_user::RingNumber;

constexpr std::uint64_t kMemory = 1 << 20;
constexpr std::uint64_t kUserAddress = 0x7f0000000000;
constexpr std::uint64_t kFeatures = std::uint64_t{1} << 32 | vhost_user::kProtocolFeatures;
constexpr std::uint32_t kRingSize = 256;
constexpr std::uint64_t kUsed = 0x8000;

SharedFd shared(int fd) {
  return std::make_shared<const Fd>(fd);
}

SharedFd event() {
  return shared(::eventfd(0, EFD_CLOEXEC));
}

SharedFd memory(std::uint64_t bytes = kMemory) {
  const int fd = ::memfd_create("guest", MFD_CLOEXEC);
  EXPECT_EQ(::ftruncate(fd, static_cast<off_t>(bytes)), 0);
  return shared(fd);
}

Message table_message(const std::vector<vhost_user::MemoryRegion>& regions,
                      std::vector<SharedFd> descriptors) {
  MemoryTable table{.count = static_cast<std::uint32_t>(regions.size())};
  std::copy(regions.begin(), regions.end(), table.regions.begin());
  Message message = make_message(Request::kSetMemTable, table, std::move(descriptors));
  message.payload.resize(MemoryTable::bytes(regions.size()));
  return message;
}

vhost_user::MemoryRegion region(std::uint64_t guest = 0, std::uint64_t size = kMemory,
                                std::uint64_t user = kUserAddress, std::uint64_t offset = 0) {
  return {.guest_address = guest, .size = size, .user_address = user, .offset = offset};
}

RingAddress address(std::uint32_t ring) {
  return {.index = ring,
          .descriptors = kUserAddress,
          .used = kUserAddress + kUsed,
          .available = kUserAddress + 0x4000};
}

class KeeperSession : public ::testing::Test {
 protected:
  // As the relay does: checked, taken by the switch, remembered.
  void take(const Message& message, std::uint64_t answer = 0) {
    const auto checked = session_.check(message);
    ASSERT_TRUE(checked) << checked.error().text();
    const Message reply = make_message(message.request, answer);
    session_.record(message, keeper::expects_reply(message) ? &reply : nullptr);
  }
  void begin() {
    take({.request = Request::kSetOwner});
    take({.request = Request::kGetFeatures}, kFeatures);
    take({.request = Request::kGetProtocolFeatures}, vhost_user::ProtocolFeatures::kReplyAck);
    take(make_message(Request::kSetProtocolFeatures, vhost_user::ProtocolFeatures::kReplyAck));
    take(make_message(Request::kSetFeatures, kFeatures));
    take(table_message({region()}, {memory_}));
  }
  void give_ring(std::uint32_t ring) {
    take(make_message(Request::kSetRingSize, RingNumber{ring, kRingSize}));
    take(make_message(Request::kSetRingBase, RingNumber{ring, 5}));
    take(make_message(Request::kSetRingAddress, address(ring)));
    take(make_message(Request::kSetRingCall, std::uint64_t{ring}, {event()}));
    take(make_message(Request::kSetRingKick, std::uint64_t{ring}, {event()}));
    take(make_message(Request::kSetRingEnable, RingNumber{ring, 1}));
  }
  std::string refusal(const Message& message) const {
    const auto checked = session_.check(message);
    return checked ? "" : checked.error().message;
  }
  static const Message* find(const std::vector<Message>& messages, Request request) {
    const auto found = std::ranges::find_if(messages, [&](const auto& m) { return m.request == request; });
    return found == messages.end() ? nullptr : &*found;
  }

  SharedFd memory_ = memory();
  Session session_;
};

TEST_F(KeeperSession, TellsTheNextSwitchAllThatTheLastOneWasTold) {
  begin();
  give_ring(0);
  give_ring(1);
  const auto messages = session_.replay();
  // Another session takes each of them, in this order.
  Session again;
  for (const Message& message : messages) {
    const auto checked = again.check(message);
    ASSERT_TRUE(checked) << checked.error().text();
    const auto answer =
        make_message(message.request, message.request == Request::kGetFeatures ? kFeatures : 8U);
    again.record(message, keeper::expects_reply(message) ? &answer : nullptr);
  }
  EXPECT_EQ(again.rings_in_use(), 2U);
  EXPECT_EQ(again.replay().size(), messages.size());
  EXPECT_TRUE(keeper::expects_reply(messages.back())) << "so that it can be told when all is done";
}

TEST_F(KeeperSession, TakesTheBaseOfARingFromTheGuestsMemory) {
  begin();
  give_ring(1);
  const std::uint16_t used = 777;
  ASSERT_EQ(::pwrite(memory_->get(), &used, sizeof used, kUsed + 2), ssize_t{sizeof used});
  const auto messages = session_.replay();
  const Message* base = find(messages, Request::kSetRingBase);
  ASSERT_NE(base, nullptr);
  EXPECT_EQ(base->as<RingNumber>().number, 777U);
  // Memory that was cut short since says nothing; what was told at first still counts.
  ASSERT_EQ(::ftruncate(memory_->get(), 4096), 0);
  EXPECT_EQ(find(session_.replay(), Request::kSetRingBase)->as<RingNumber>().number, 5U);
}

TEST_F(KeeperSession, ForgetsARingThatWasTakenBack) {
  begin();
  give_ring(0);
  take(make_message(Request::kGetRingBase, RingNumber{0, 0}), std::uint64_t{9} << 32);
  EXPECT_EQ(session_.rings_in_use(), 0U);
  const auto messages = session_.replay();
  EXPECT_EQ(find(messages, Request::kSetRingKick), nullptr);
  EXPECT_EQ(find(messages, Request::kSetRingAddress), nullptr);
  ASSERT_NE(find(messages, Request::kSetRingBase), nullptr);
  EXPECT_EQ(find(messages, Request::kSetRingBase)->as<RingNumber>().number, 9U);
}

TEST_F(KeeperSession, DoesNotRememberWhatTheSwitchRefused) {
  begin();
  Message mtu = make_message(Request::kSetMtu, std::uint64_t{9000});
  mtu.flags |= vhost_user::Header::kNeedReply;
  take(mtu, 1);
  EXPECT_EQ(find(session_.replay(), Request::kSetMtu), nullptr);
  take(mtu, 0);
  EXPECT_NE(find(session_.replay(), Request::kSetMtu), nullptr);
}

TEST_F(KeeperSession, OffersNothingThatASessionCannotBeKeptWith) {
  Message features = make_message(Request::kGetFeatures, ~std::uint64_t{0});
  Session::restrict_reply(features);
  EXPECT_EQ(features.as<std::uint64_t>() & vhost_user::kRingPacked, 0U);
  constexpr std::uint64_t kBackendRequests = 1 << 5;
  constexpr std::uint64_t kMemorySlots = 1 << 15;
  constexpr std::uint64_t kInflight = 1 << 12;
  Message protocol = make_message(Request::kGetProtocolFeatures, ~std::uint64_t{0});
  Session::restrict_reply(protocol);
  EXPECT_EQ(protocol.as<std::uint64_t>() & (kBackendRequests | kMemorySlots | kInflight), 0U);
  EXPECT_NE(protocol.as<std::uint64_t>() & vhost_user::ProtocolFeatures::kReplyAck, 0U);
}

TEST_F(KeeperSession, DoesNotGoOnWithASwitchThatOffersLess) {
  begin();
  EXPECT_TRUE(session_.check_replayed(make_message(Request::kGetFeatures, kFeatures | 1)));
  EXPECT_FALSE(session_.check_replayed(make_message(Request::kGetFeatures, std::uint64_t{0})));
  EXPECT_FALSE(session_.check_replayed(make_message(Request::kGetProtocolFeatures, std::uint64_t{0})));
}

TEST_F(KeeperSession, RefusesMemoryThatCannotBe) {
  const auto says = [this](const std::vector<vhost_user::MemoryRegion>& regions,
                           std::vector<SharedFd> descriptors) {
    return refusal(table_message(regions, std::move(descriptors)));
  };
  EXPECT_EQ(says({region()}, {memory_}), "");
  EXPECT_NE(says({}, {}), "");
  EXPECT_NE(says({region()}, {}).find("0 descriptors for 1"), std::string::npos);
  EXPECT_NE(says({region()}, {memory_, memory_}), "");
  EXPECT_NE(says({region(0, 0)}, {memory_}).find("impossible"), std::string::npos);
  EXPECT_NE(says({region(~std::uint64_t{0} - 4096)}, {memory_}).find("impossible"), std::string::npos);
  EXPECT_NE(says({region(0, 4096, ~std::uint64_t{0} - 100)}, {memory_}), "");
  EXPECT_NE(says({region(0, 2 * kMemory)}, {memory_}).find("longer than the memory"), std::string::npos);
  EXPECT_NE(says({region(0, kMemory, kUserAddress, 4096)}, {memory_}).find("longer"), std::string::npos);
  EXPECT_NE(says({region()}, {event()}).find("no shared memory"), std::string::npos);
  EXPECT_NE(says({region(), region(4096, 4096, kUserAddress + 2 * kMemory)}, {memory_, memory_})
                .find("overlaps region 0"),
            std::string::npos);
  EXPECT_NE(says({region(), region(kMemory)}, {memory_, memory_}).find("overlaps"), std::string::npos);
  EXPECT_EQ(says({region(), region(kMemory, kMemory, kUserAddress + kMemory)}, {memory_, memory_}), "");
}

TEST_F(KeeperSession, RefusesRingsThatCannotBe) {
  begin();
  EXPECT_NE(refusal(make_message(Request::kSetRingAddress, address(0))).find("before the ring's size"),
            std::string::npos);
  EXPECT_NE(refusal(make_message(Request::kSetRingSize, RingNumber{0, 0})), "");
  EXPECT_NE(refusal(make_message(Request::kSetRingSize, RingNumber{0, 100})), "");
  EXPECT_NE(refusal(make_message(Request::kSetRingSize, RingNumber{0, 65536})), "");
  EXPECT_NE(refusal(make_message(Request::kSetRingSize, RingNumber{256, 256})).find("256"),
            std::string::npos);
  EXPECT_NE(refusal(make_message(Request::kSetRingBase, RingNumber{0, 65536})), "");
  EXPECT_NE(refusal(make_message(Request::kSetRingEnable, RingNumber{0, 2})), "");
  take(make_message(Request::kSetRingSize, RingNumber{0, kRingSize}));
  EXPECT_EQ(refusal(make_message(Request::kSetRingAddress, address(0))), "");
  for (const auto field : {&RingAddress::descriptors, &RingAddress::used, &RingAddress::available}) {
    RingAddress outside = address(0);
    outside.*field = kUserAddress + kMemory - 8;
    EXPECT_NE(refusal(make_message(Request::kSetRingAddress, outside)).find("outside"), std::string::npos);
    outside.*field = 0;
    EXPECT_NE(refusal(make_message(Request::kSetRingAddress, outside)).find("outside"), std::string::npos);
  }
  EXPECT_EQ(refusal(make_message(Request::kSetRingKick, std::uint64_t{0}, {event()})), "");
  EXPECT_EQ(refusal(make_message(Request::kSetRingKick, std::uint64_t{RingDescriptor::kNone})), "");
  EXPECT_NE(refusal(make_message(Request::kSetRingKick, std::uint64_t{0})), "");
  EXPECT_NE(refusal(make_message(Request::kSetRingKick, std::uint64_t{RingDescriptor::kNone}, {event()})),
            "");
  EXPECT_NE(refusal(make_message(Request::kSetRingKick, std::uint64_t{0x200}, {event()})), "");
  EXPECT_NE(refusal(make_message(Request::kSetRingCall, std::uint64_t{0}, {memory()})).find("no event"),
            std::string::npos);
}

TEST_F(KeeperSession, RefusesMessagesOfAnotherForm) {
  EXPECT_NE(refusal({.request = static_cast<Request>(0)}).find("message 0"), std::string::npos);
  EXPECT_NE(refusal({.request = static_cast<Request>(31)}), "") << "inflight memory is not offered";
  EXPECT_NE(refusal({.request = Request::kSetOwner, .flags = 0}).find("flags"), std::string::npos);
  EXPECT_NE(refusal({.request = Request::kSetOwner, .flags = 5}).find("flags"), std::string::npos);
  EXPECT_NE(refusal({.request = Request::kSetOwner, .payload = {1}}).find("1 bytes"), std::string::npos);
  EXPECT_NE(refusal({.request = Request::kSetOwner, .descriptors = {event()}}), "");
  EXPECT_NE(refusal(make_message(Request::kSetFeatures, std::uint64_t{1})).find("not offered"),
            std::string::npos);
  EXPECT_NE(refusal(make_message(Request::kSetProtocolFeatures, std::uint64_t{1})).find("not offered"),
            std::string::npos);
  EXPECT_NE(refusal(make_message(Request::kSetMtu, std::uint64_t{10})), "");
  EXPECT_NE(refusal(make_message(Request::kSetStatus, std::uint64_t{256})), "");
  EXPECT_NE(refusal(make_message(Request::kSetLogBase, vhost_user::Log{.size = 1 << 21}, {memory_})), "");
  EXPECT_EQ(refusal(make_message(Request::kSetLogBase, vhost_user::Log{.size = 4096}, {memory_})), "");
}

// Both ends of a connection.
class KeeperChannel : public ::testing::Test {
 protected:
  void SetUp() override {
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    channel_.emplace(Fd(ends[0]));
    peer_ = Fd(ends[1]);
  }
  void send(const void* bytes, std::size_t size) const {
    ASSERT_EQ(::send(peer_.get(), bytes, size, 0), static_cast<ssize_t>(size));
  }

  std::optional<Channel> channel_;
  Fd peer_;
};

TEST_F(KeeperChannel, PutsAMessageTogetherFromPieces) {
  struct {
    vhost_user::Header header{.request = 2, .size = 8};
    std::uint32_t low = 7;
    std::uint32_t high = 0;
  } message;
  const auto* bytes = reinterpret_cast<const char*>(&message);
  for (std::size_t i = 0; i + 1 < sizeof message; i++) {
    send(bytes + i, 1);
    const auto got = channel_->receive();
    ASSERT_TRUE(got);
    EXPECT_FALSE(*got);
  }
  send(bytes + sizeof message - 1, 1);
  const auto got = channel_->receive();
  ASSERT_TRUE(got && *got);
  EXPECT_EQ((*got)->as<std::uint64_t>(), 7U);
}

TEST_F(KeeperChannel, RefusesWhatIsTooLongAndTellsTheEnd) {
  const vhost_user::Header header{.request = 5, .size = 300};
  send(&header, sizeof header);
  const auto got = channel_->receive();
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::kDecode);
  EXPECT_NE(got.error().message.find("8 memory regions"), std::string::npos);
}

TEST_F(KeeperChannel, TellsTheEndOfTheConnection) {
  peer_ = Fd();
  const auto got = channel_->receive();
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::kNotAvailable);
  EXPECT_FALSE(channel_->send({.request = Request::kSetOwner}));
}

TEST_F(KeeperChannel, CarriesDescriptors) {
  Channel other(Fd(peer_.release()));
  const SharedFd sent = memory(12345);
  ASSERT_TRUE(other.send(make_message(Request::kSetRingKick, std::uint64_t{0}, {sent, event()})));
  const auto got = channel_->receive();
  ASSERT_TRUE(got && *got);
  ASSERT_EQ((*got)->descriptors.size(), 2U);
  EXPECT_EQ(::lseek((*got)->descriptors[0]->get(), 0, SEEK_END), 12345);
}

}  // namespace
}  // namespace vmlane::test
