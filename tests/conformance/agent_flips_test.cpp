// SPDX-License-Identifier: Apache-2.0
// Policies that change under load. Every datagram carries when it was sent, and is held against the log of
// what was in force: what was denied from before it was sent until it came has not come, and what was allowed
// for all of that time has.
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <thread>

#include "tests/conformance/agent_enforcement.h"
#include "tests/support/long_run.h"

namespace vmlane::test {
namespace {

using namespace std::chrono_literals;

using Time = std::int64_t;  // ns of a steady clock

Time now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

constexpr std::uint16_t kLoadPort = 7008;
enum Who : std::uint32_t { kFromClient, kFromFriend, kFromStranger, kSenders };
constexpr std::array<const char*, kSenders> kNames = {"client", "friend", "stranger"};

struct Datagram {
  std::uint32_t who = 0;
  std::uint32_t number = 0;
};

sockaddr_in load_address(const std::string& text) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(kLoadPort);
  const IpAddress ip = IpAddress::parse(text).value();
  std::memcpy(&address.sin_addr, ip.bytes.data(), sizeof address.sin_addr);
  return address;
}

Fd load_socket(const std::string& netns, const sockaddr_in& address, bool listens) {
  const NetnsScope scope(netns);
  Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto* target = reinterpret_cast<const sockaddr*>(&address);
  const int room = 8 << 20;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
  const timeval limit{0, 100'000};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  if ((listens ? ::bind(fd.get(), target, sizeof address) : ::connect(fd.get(), target, sizeof address)) != 0)
    throw std::runtime_error(std::string("load: ") + std::strerror(errno));
  return fd;
}

// What was sent when, and what came when; read when the threads have ended.
class Load {
 public:
  Load(const std::string& server, const std::string& address,
       const std::array<std::string, kSenders>& senders)
      : server_(load_socket(server, load_address("0.0.0.0"), true)) {
    for (std::uint32_t who = 0; who < kSenders; who++)
      clients_[who] = load_socket(senders[who], load_address(address), false);
    for (std::uint32_t who = 0; who < kSenders; who++) threads_.emplace_back([this, who] { send(who); });
    receiver_ = std::jthread([this] { receive(); });
  }
  ~Load() { end(); }
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  // Those on their way come still.
  void end() {
    done_ = true;
    threads_.clear();
    if (!receiver_.joinable()) return;
    sleep_ms(500);
    received_all_ = true;
    receiver_.join();
  }
  std::size_t come(Who who) const { return came_count_[who]; }
  const std::vector<Time>& sent(Who who) const { return sent_[who]; }
  const std::map<std::uint32_t, Time>& came(Who who) const { return came_[who]; }

 private:
  void send(std::uint32_t who) {
    Datagram datagram{.who = who};
    while (!done_) {
      sent_[who].push_back(now_ns());
      // While the other end's MAC is not known nothing can be sent, and that is no loss.
      if (::send(clients_[who].get(), &datagram, sizeof datagram, 0) < 0)
        sent_[who].pop_back();
      else
        datagram.number++;
      std::this_thread::sleep_for(2ms);
    }
  }
  void receive() {
    while (!received_all_) {
      Datagram datagram;
      if (::recv(server_.get(), &datagram, sizeof datagram, 0) != sizeof datagram) continue;
      came_[datagram.who % kSenders].emplace(datagram.number, now_ns());
      came_count_[datagram.who % kSenders]++;
    }
  }

  Fd server_;
  std::array<Fd, kSenders> clients_;
  std::array<std::vector<Time>, kSenders> sent_;
  std::array<std::map<std::uint32_t, Time>, kSenders> came_;
  std::array<std::atomic<std::size_t>, kSenders> came_count_{};
  std::atomic<bool> done_ = false;
  std::atomic<bool> received_all_ = false;
  std::vector<std::jthread> threads_;
  std::jthread receiver_;
};

// From when a state of policy was in force until the next one was on its way.
struct Period {
  bool allows = false;
  Time from = 0;
  Time until = 0;
};

class AgentFlips : public AgentEnforcement {
 protected:
  // `friend` may always reach web, the client does in every other generation, the stranger never may.
  static std::string flipped(int generation) {
    Json from = Json::array({{{"podSelector", {{"matchLabels", {{"role", "friend"}}}}}}});
    if (generation % 2 == 0) from.push_back({{"podSelector", {{"matchLabels", {{"role", "client"}}}}}});
    const Json rule = {{"from", from}};
    Json policy = Json::parse(
        policy_text("guard", {{"podSelector", {{"matchLabels", {{"role", "web"}}}}}, {"ingress", {rule}}}));
    policy["metadata"]["annotations"]["generation"] = std::to_string(generation);
    return policy.dump();
  }
  // Puts a generation in force; the agent may be killed on the way, and another release come after it.
  void flip_to(int generation, bool kill, std::mt19937& random) {
    const bool allows = generation % 2 == 0;
    if (!periods_.empty()) periods_.back().until = now_ns();
    put("guard.json", flipped(generation));
    if (kill) {
      sleep_ms(static_cast<int>(random() % 60));
      agent().kill();
      if (random() % 2 == 0) become_another_release(generation);
      agent().start();
    }
    // The file of the tables is written after the kernel has them.
    ASSERT_TRUE(eventually(
        [&] { return published_verdict(node(), id_of("web"), true, client_, kLoadPort) == allows; }, 60s))
        << agent().status();
    periods_.push_back({.allows = allows, .from = now_ns(), .until = 0});
    sleep_ms(static_cast<int>(5 + random() % 20));
  }

  std::vector<Period> periods_;
  std::string client_;  // its address
};

TEST_F(AgentFlips, NothingDeniedPassesAndNothingAllowedIsLost) {
  put_pod("friend");
  put_pod("visitor");
  put("guard.json", flipped(0));
  agent().start();
  const std::string web = attach("web");
  client_ = attach("client");
  attach("friend");
  attach("stranger");
  for (const char* name : {"web", "client", "friend", "stranger"})
    ASSERT_TRUE(judged(name)) << agent().status();
  ASSERT_TRUE(comes_through("friend", web, true)) << agent().status();
  ASSERT_TRUE(comes_through("client", web, true)) << agent().status();
  // The node's links learn who is where; nothing is to be lost to that.
  ping(netns("stranger"), web);
  Load load(netns("web"), web, {netns("client"), netns("friend"), netns("stranger")});
  ASSERT_TRUE(eventually([&] { return load.come(kFromClient) > 10 && load.come(kFromFriend) > 10; }, 30s));

  std::atomic<bool> done = false;
  std::atomic<int> visits = 0;
  const std::string visitor_path = make_pod("visitor").path();
  std::mt19937 random(6);
  const int flips = rounds(40, 1000);
  {
    // A pod that no policy selects comes and goes all the time, so that there is always an ADD or a DEL
    // beside.
    const std::jthread visitor([&] {
      while (!done) {
        CniCall cni = call("ADD", visitor_path, config(), "visitor");
        EXPECT_CNI_OK(run_call(cni));
        cni.command = "DEL";
        EXPECT_CNI_OK(run_call(cni));
        visits++;
      }
    });
    for (int generation = 1; generation <= flips && !HasFatalFailure(); generation++)
      flip_to(generation, generation % 8 == 0, random);
    done = true;
  }
  ASSERT_FALSE(HasFatalFailure());
  periods_.back().until = now_ns();
  load.end();

  EXPECT_GT(visits, 0);
  EXPECT_EQ(load.come(kFromStranger), 0U) << "of " << load.sent(kFromStranger).size();
  EXPECT_EQ(load.come(kFromFriend), load.sent(kFromFriend).size());
  std::size_t leaked = 0;
  std::size_t lost = 0;
  std::size_t allowed = 0;
  std::size_t denied = 0;
  const auto& came = load.came(kFromClient);
  for (const Period& period : periods_) {
    // The last one of the period that came, so that all before it have been judged.
    std::uint32_t last = 0;
    for (const auto& [number, time] : came) {
      if (time <= period.until) last = std::max(last, number + 1);
    }
    const auto& sent = load.sent(kFromClient);
    const auto first = static_cast<std::uint32_t>(std::ranges::lower_bound(sent, period.from) - sent.begin());
    for (std::uint32_t number = first; number < sent.size() && sent[number] <= period.until; number++) {
      const auto at = came.find(number);
      const bool came_within = at != came.end() && at->second <= period.until;
      if (period.allows) {
        allowed++;
        lost += at == came.end() && number < last ? 1 : 0;
      } else {
        denied++;
        leaked += came_within ? 1 : 0;
      }
    }
  }
  EXPECT_EQ(leaked, 0U) << "of " << denied;
  EXPECT_EQ(lost, 0U) << "of " << allowed;
  EXPECT_GT(allowed, static_cast<std::size_t>(flips));
  EXPECT_GT(denied, static_cast<std::size_t>(flips));
  RecordProperty("flips", flips);
  RecordProperty("datagrams", static_cast<int>(load.sent(kFromClient).size() + load.sent(kFromFriend).size() +
                                               load.sent(kFromStranger).size()));
  RecordProperty("visits", visits.load());
}

}  // namespace
}  // namespace vmlane::test
