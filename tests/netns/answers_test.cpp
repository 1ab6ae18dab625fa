// SPDX-License-Identifier: Apache-2.0
// Guest answers in the kernel: the same replies as the native rules give, and real clients that live on them,
// at the end of a veth pair with the program on the host's end.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <guest_answers_probe.skel.h>
#include <net/if.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>

#include "answers/native.h"
#include "ebpf/ingress.h"
#include "netlink/netlink.h"
#include "tests/support/answer_examples.h"
#include "tests/support/host.h"
#include "tests/support/offload.h"
#include "tests/support/traffic.h"

namespace vmlane::test {
namespace {

using answers::Verdict;
using netlink::Namespace;

constexpr MacAddress kServerMac{{2, 0, 0, 0, 0, 0xee}};
constexpr std::chrono::seconds kClientTime{20};

struct DestroyProbe {
  void operator()(guest_answers_probe_bpf* probe) const { guest_answers_probe_bpf::destroy(probe); }
};

// The probe program, loaded, with one guest's answers.
class Probe {
 public:
  explicit Probe(const vmlane_answers& answers) : probe_(guest_answers_probe_bpf::open_and_load()) {
    if (!probe_) throw std::runtime_error("cannot load the guest answers");
    set(answers);
  }
  void set(const vmlane_answers& answers) const {
    const std::uint32_t key = 0;
    if (bpf_map_update_elem(map(), &key, &answers, BPF_ANY) != 0)
      throw std::runtime_error("cannot set the answers");
  }
  std::unique_ptr<vmlane_answers> get() const {
    auto answers = std::make_unique<vmlane_answers>();
    const std::uint32_t key = 0;
    if (bpf_map_lookup_elem(map(), &key, answers.get()) != 0)
      throw std::runtime_error("cannot read the answers");
    return answers;
  }
  std::uint64_t count(vmlane_answer_count kind) const { return get()->counters[kind]; }
  int program() const { return bpf_program__fd(probe_->progs.vmlane_answering); }
  int program_for_macvtap() const { return bpf_program__fd(probe_->progs.vmlane_answering_tap); }
  // Runs the rules on a frame, which becomes what they made of it.
  Verdict ask(Frame& frame) const {
    Frame out(8192);
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_out = out.data(),
                .data_size_in = static_cast<std::uint32_t>(frame.size()),
                .data_size_out = static_cast<std::uint32_t>(out.size()));
    if (bpf_prog_test_run_opts(bpf_program__fd(probe_->progs.vmlane_verdict), &options) != 0)
      throw std::runtime_error("cannot run the rules");
    out.resize(options.data_size_out);
    frame = std::move(out);
    return static_cast<Verdict>(options.retval);
  }

 private:
  int map() const { return bpf_map__fd(probe_->maps.guest); }
  std::unique_ptr<guest_answers_probe_bpf, DestroyProbe> probe_;
};

Verdict ask_natively(Frame& frame, vmlane_answers& answers) {
  const std::size_t length = frame.size();
  frame.resize(length + answers::kAnswerCapacity);
  const answers::Answer answer = answers::answer(frame, length, answers);
  frame.resize(answer.length);
  return answer.verdict;
}

class AnswersKernelTest : public HostFixture {
 protected:
  void SetUp() override {
    HostFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    native_ = value_of(answers::build_answers(example_plan()));
    probe_.emplace(*native_);
  }
  void expect_same(const std::string& name, const Frame& question) {
    Frame by_kernel = question;
    Frame by_rules = question;
    const Verdict verdict = probe_->ask(by_kernel);
    ASSERT_EQ(verdict, ask_natively(by_rules, *native_)) << name;
    if (verdict != Verdict::kDrop) {
      ASSERT_EQ(by_kernel, by_rules) << name;
    }
  }

  std::unique_ptr<vmlane_answers> native_;
  std::optional<Probe> probe_;
};

TEST_F(AnswersKernelTest, RepliesAreTheNativeOnesByteForByte) {
  const auto questions = example_questions(*native_);
  for (const auto& [name, question] : questions) expect_same(name, question);
  std::mt19937 random(7);
  const auto below = [&random](std::size_t limit) { return random() % limit; };
  for (int round = 0; round < 5000 && !HasFatalFailure(); round++) {
    Frame frame = questions[below(questions.size())].second;
    for (std::size_t i = below(4); i > 0; i--)
      frame[12 + below(frame.size() - 12)] = static_cast<std::uint8_t>(random());
    // The kernel runs a program on nothing shorter than the headers.
    constexpr std::size_t kHeaders = 54;
    if (below(4) == 0 && frame.size() > kHeaders) frame.resize(kHeaders + below(frame.size() - kHeaders));
    expect_same("round " + std::to_string(round), frame);
  }
  const auto kernels = probe_->get();
  EXPECT_TRUE(std::ranges::equal(kernels->counters, native_->counters));
}

TEST_F(AnswersKernelTest, ShortenedRepliesAreTheNativeOnesByteForByte) {
  native_ = value_of(answers::build_answers(talkative_plan()));
  probe_->set(*native_);
  for (const auto& [name, question] : example_questions(*native_)) expect_same(name, question);
}

// host: v0 with the program ==== pod a: eth0 of the guest.
class AnswersClientTest : public HostFixture {
 protected:
  void SetUp() override {
    HostFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    pod_ = &make_pod("a");
    const Namespace host = value_of(Namespace::current());
    const Namespace pod = value_of(Namespace::open(pod_->path()));
    on_host_ = value_of(netlink::open_netlink(host));
    ASSERT_OK(on_host_->create_veth({"v0", kServerMac, "eth0", kAskingGuest, 1500}, pod));
    must({"ip", "link", "set", "v0", "addrgenmode", "none"});
  }
  // Starts to answer, and brings both ends up.
  void start(const answers::AnswerPlan& plan, const std::function<void(vmlane_answers&)>& change = {}) {
    const auto answers = value_of(answers::build_answers(plan));
    if (change) change(*answers);
    probe_.emplace(*answers);
    ASSERT_OK(ebpf::attach_to_ingress(value_of(on_host_->find_link("v0"))->index, probe_->program(),
                                      ebpf::Attach::kClsact));
    must({"ip", "link", "set", "v0", "up"});
    ASSERT_TRUE(pod_->run({"ip", "link", "set", "eth0", "up"}).ok());
    ASSERT_TRUE(await_active(pod_->path(), "eth0"));
  }
  void write_script(const std::string& more = "") {
    spit(script(), "#!/bin/sh\n" + more + "{ echo \"event=${reason:-$1}\"; env; echo; } >> " +
                       told().string() + "\nexit 0\n");
    std::filesystem::permissions(script(), std::filesystem::perms::owner_all);
  }
  std::filesystem::path script() const { return directory() / "script"; }
  std::filesystem::path told() const { return directory() / "told"; }
  testing::AssertionResult is_told(const std::string& line) const {
    const std::string text = "\n" + slurp(told());
    if (text.find("\n" + line + "\n") != std::string::npos) return testing::AssertionSuccess();
    return testing::AssertionFailure() << line << " is not in what the client was told:" << text;
  }
  std::string lladdr(const std::string& address) const {
    for (const Json& entry : ip_json(pod_->path(), {"neigh", "show", "dev", "eth0"})) {
      if (entry.value("dst", "") == address) return entry.value("lladdr", "");
    }
    return "";
  }
  bool has_settled_link_local() const {
    for (const Json& link : ip_json(pod_->path(), {"addr", "show", "dev", "eth0"})) {
      for (const Json& address : link.value("addr_info", Json::array())) {
        if (address.value("scope", "") == "link" && !address.contains("tentative")) return true;
      }
    }
    return false;
  }

  Pod* pod_ = nullptr;
  std::unique_ptr<netlink::Netlink> on_host_;
  std::optional<Probe> probe_;
};

TEST_F(AnswersClientTest, Udhcpc) {
  answers::AnswerPlan plan = example_plan();
  plan.ipv4->routes = {{value_of(IpPrefix::parse("203.0.113.0/24")), ip("192.0.2.3")}};
  start(plan);
  write_script();
  const RunResult client =
      pod_->run({"busybox", "udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "5", "-T", "1", "-O", "mtu", "-O",
                 "staticroutes", "-O", "search", "-s", script().string()},
                {.timeout = kClientTime});
  ASSERT_TRUE(client.ok()) << client.err;
  for (const char* line :
       {"ip=192.0.2.10", "subnet=255.255.255.0", "router=192.0.2.1", "dns=198.51.100.53 198.51.100.54",
        "domain=blue.example", "hostname=vm-a", "mtu=1400", "serverid=192.0.2.1", "lease=4294967295",
        "staticroutes=203.0.113.0/24 192.0.2.3 0.0.0.0/0 192.0.2.1"}) {
    EXPECT_TRUE(is_told(line));
  }
  EXPECT_EQ(probe_->count(VMLANE_COUNT_OFFER), 1U);
  EXPECT_EQ(probe_->count(VMLANE_COUNT_ACK), 1U);
}

TEST_F(AnswersClientTest, Dhclient) {
  answers::AnswerPlan plan = example_plan();
  plan.lease_seconds = 3600;
  start(plan);
  write_script();
  const BackgroundProcess client(
      {"dhclient", "-4", "-d", "-1", "-sf", script().string(), "-lf", (directory() / "leases").string(),
       "-pf", (directory() / "pid").string(), "-cf", "/dev/null", "eth0"},
      {.netns = pod_->path()});
  ASSERT_TRUE(eventually([&] { return is_told("reason=BOUND"); }, kClientTime)) << slurp(told());
  for (const char* line :
       {"new_ip_address=192.0.2.10", "new_subnet_mask=255.255.255.0", "new_routers=192.0.2.1",
        "new_domain_name_servers=198.51.100.53 198.51.100.54", "new_domain_name=blue.example",
        "new_host_name=vm-a", "new_dhcp_lease_time=3600", "new_dhcp_server_identifier=192.0.2.1"}) {
    EXPECT_TRUE(is_told(line));
  }
}

TEST_F(AnswersClientTest, Dhclient6) {
  start(example_plan());
  ASSERT_TRUE(eventually([&] { return has_settled_link_local(); }, kClientTime));
  write_script();
  const BackgroundProcess client(
      {"dhclient", "-6", "-d", "-1", "-sf", script().string(), "-lf", (directory() / "leases").string(),
       "-pf", (directory() / "pid").string(), "-cf", "/dev/null", "eth0"},
      {.netns = pod_->path()});
  ASSERT_TRUE(eventually([&] { return is_told("reason=BOUND6"); }, kClientTime)) << slurp(told());
  for (const char* line : {"new_ip6_address=2001:db8::10", "new_dhcp6_name_servers=2001:db8::53",
                           "new_dhcp6_domain_search=blue.example. example.", "new_max_life=4294967295"}) {
    EXPECT_TRUE(is_told(line));
  }
}

TEST_F(AnswersClientTest, DhcpcdConfiguresBothFamilies) {
  start(example_plan());
  must({"mount", "-t", "tmpfs", "none", "/var/lib/dhcpcd"});  // leases; only in the test's mount namespace
  const std::filesystem::path config = directory() / "dhcpcd.conf";
  spit(config, "duid\noption domain_name_servers, interface_mtu, classless_static_routes\ntimeout 20\n");
  BackgroundProcess client({"dhcpcd", "-B", "-f", config.string(), "-c", "/bin/true", "eth0"},
                           {.netns = pod_->path()});
  const auto has = [&](const std::string& address) {
    return std::ranges::count(addresses_of(pod_->path(), "eth0"), address) == 1;
  };
  EXPECT_TRUE(eventually([&] { return has("192.0.2.10/24"); }, kClientTime));
  EXPECT_TRUE(eventually([&] { return has("2001:db8::10/128"); }, kClientTime));
  EXPECT_TRUE(eventually([&] { return !ip_json(pod_->path(), {"-4", "route", "show", "default"}).empty(); }));
  EXPECT_TRUE(eventually([&] { return !ip_json(pod_->path(), {"-6", "route", "show", "default"}).empty(); }));
  client.stop();
}

TEST_F(AnswersClientTest, SystemdNetworkdConfiguresBothFamilies) {
  start(example_plan());
  // Without its manager it finds here what units would have made.
  const std::filesystem::path run = "/run/systemd";
  std::filesystem::create_directories(run / "network");
  spit(run / "network/10-eth0.network",
       "[Match]\nName=eth0\n[Network]\nDHCP=yes\n[DHCPv4]\nUseMTU=yes\nUseDomains=yes\n");
  std::filesystem::create_directories(run / "netif/links");
  std::filesystem::create_directories(run / "netif/leases");
  must({"chown", "-R", "systemd-network", (run / "netif").string()});
  // It waits for udev's word on a link, but not in a container, which it tells by a /sys that is read-only.
  BackgroundProcess client({"unshare", "--mount", "sh", "-c",
                            "mount -t sysfs -o ro none /sys && exec /lib/systemd/systemd-networkd"},
                           {.netns = pod_->path()});
  const auto has = [&](const std::string& address) {
    return std::ranges::count(addresses_of(pod_->path(), "eth0"), address) == 1;
  };
  EXPECT_TRUE(eventually([&] { return has("192.0.2.10/24"); }, kClientTime));
  EXPECT_TRUE(eventually([&] { return has("2001:db8::10/128"); }, kClientTime));
  EXPECT_TRUE(eventually([&] { return !ip_json(pod_->path(), {"-4", "route", "show", "default"}).empty(); }));
  EXPECT_TRUE(eventually([&] { return !ip_json(pod_->path(), {"-6", "route", "show", "default"}).empty(); }));
  EXPECT_TRUE(eventually([&] { return link_of(pod_->path(), "eth0").value("mtu", 0) == 1400; }));
  const std::filesystem::path state =
      run / "netif/links" / std::to_string(link_of(pod_->path(), "eth0").value("ifindex", 0));
  for (const char* told : {"198.51.100.53", "198.51.100.54", "2001:db8::53", "blue.example"})
    EXPECT_TRUE(eventually([&] { return slurp(state).find(told) != std::string::npos; }, kClientTime))
        << told << " is not in\n"
        << slurp(state);
  client.stop();
}

TEST_F(AnswersClientTest, KernelTakesTheRouterForGood) {
  ASSERT_TRUE(pod_->run({"sysctl", "-qw", "net.ipv6.conf.eth0.accept_ra=2"}).ok());
  start(example_plan());
  Json routes;
  ASSERT_TRUE(eventually(
      [&] {
        routes = ip_json(pod_->path(), {"-6", "route", "show", "default"});
        return !routes.empty();
      },
      kClientTime));
  EXPECT_EQ(routes[0].value("gateway", ""), "fe80::ff:fe00:1");
  EXPECT_FALSE(routes[0].contains("expires")) << routes;  // an idle guest keeps it
  EXPECT_EQ(pod_->run({"sysctl", "-n", "net.ipv6.conf.eth0.mtu"}).out, "1400\n");
  EXPECT_EQ(ip_json(pod_->path(), {"-6", "route", "show", "2001:db8::/64"}).size(), 1U);
  EXPECT_TRUE(addresses_of(pod_->path(), "eth0").empty()) << "the guest made an address of its own";
}

TEST_F(AnswersClientTest, NeighbourOfAVirtualGatewayIsKnown) {
  start(example_plan());
  ASSERT_TRUE(pod_->run({"ip", "addr", "add", "192.0.2.10/24", "dev", "eth0"}).ok());
  ASSERT_TRUE(pod_->run({"ip", "addr", "add", "2001:db8::10/64", "dev", "eth0", "nodad"}).ok());
  pod_->run({"ping", "-c", "1", "-W", "1", "192.0.2.1"});
  pod_->run({"ping", "-c", "1", "-W", "1", "2001:db8::1"});
  EXPECT_EQ(lladdr("192.0.2.1"), "02:00:00:00:00:01");
  EXPECT_EQ(lladdr("2001:db8::1"), "02:00:00:00:00:01");
  pod_->run({"ping", "-c", "1", "-W", "1", "192.0.2.2"});
  EXPECT_EQ(lladdr("192.0.2.2"), "");
}

TEST_F(AnswersClientTest, PassingFrameBringsARefreshAndGoesItsWay) {
  start(example_plan(), [](vmlane_answers& answers) { answers.last_ra = 1; });  // at boot
  ASSERT_TRUE(pod_->run({"ip", "addr", "add", "192.0.2.10/24", "dev", "eth0"}).ok());
  const NetnsScope inside(pod_->path());
  const PacketSocket guest("", "eth0");
  guest.send(make_arp_request(kAskingGuest, "192.0.2.10", "192.0.2.1"));
  const auto reply = guest.receive([](const Frame& frame) { return ether_type_of(frame) == kEtherTypeArp; },
                                   std::chrono::seconds(5));
  ASSERT_TRUE(reply);
  EXPECT_EQ(read_reply(*reply).payload.at(7), 2);
  EXPECT_TRUE(eventually([&] { return probe_->count(VMLANE_COUNT_RA_REFRESH) == 1; }));
  EXPECT_EQ(probe_->count(VMLANE_COUNT_ARP), 1U);
  guest.send(make_arp_request(kAskingGuest, "192.0.2.10", "192.0.2.1"));
  ASSERT_TRUE(eventually([&] { return probe_->count(VMLANE_COUNT_ARP) == 2; }));
  EXPECT_EQ(probe_->count(VMLANE_COUNT_RA_REFRESH), 1U);
}

// Of any protocol over IPv6, with its checksum left to the device: the RA stays right all the same.
TEST_F(AnswersClientTest, PassingTcpAndUdpBringARefreshThatTheKernelTakes) {
  // It asks for no router, which would bring an RA as well.
  ASSERT_TRUE(pod_->run({"sysctl", "-qw", "net.ipv6.conf.eth0.accept_ra=2",
                         "net.ipv6.conf.eth0.router_solicitations=0"})
                  .ok());
  start(example_plan());
  must({"ip", "addr", "add", "2001:db8::1/64", "dev", "v0", "nodad"});
  ASSERT_TRUE(pod_->run({"ip", "addr", "add", "2001:db8::10/64", "dev", "eth0", "nodad"}).ok());
  const auto mac_of = [](const std::string& netns, const char* link) {
    return link_of(netns, link)["address"].get<std::string>();
  };
  // Neither end asks for the other: ICMPv6 and ARP would bring a refresh as well.
  must({"ip", "neigh", "replace", "2001:db8::10", "lladdr", mac_of(pod_->path(), "eth0"), "dev", "v0", "nud",
        "permanent"});
  ASSERT_TRUE(pod_->run({"ip", "neigh", "replace", "2001:db8::1", "lladdr", mac_of("", "v0"), "dev", "eth0",
                         "nud", "permanent"})
                  .ok());
  ASSERT_TRUE(eventually([&] { return has_settled_link_local(); }, kClientTime));
  const auto has_route = [&] {
    return !pod_->run({"ip", "-6", "route", "show", "default", "dev", "eth0"}).out.empty();
  };
  const auto refreshed_by = [&](const std::function<void()>& talk) {
    const auto due = probe_->get();
    due->last_ra = 1;
    probe_->set(*due);
    const std::uint64_t before = due->counters[VMLANE_COUNT_RA_REFRESH];
    pod_->run({"ip", "-6", "route", "flush", "exact", "default", "dev", "eth0"});
    talk();
    return eventually([&] { return probe_->count(VMLANE_COUNT_RA_REFRESH) > before && has_route(); });
  };
  EXPECT_TRUE(refreshed_by([&] { udp_exchange(pod_->path(), "", "2001:db8::1", "hello"); }));
  EXPECT_TRUE(refreshed_by([&] { tcp_transfer(pod_->path(), "", "2001:db8::1", 100000); }));
}

// A request as a guest's driver hands it over whose NIC computes checksums: with that of the pseudo header in
// its place.
Packet left_to_the_nic(const Frame& frame, std::uint16_t l4, std::uint16_t offset) {
  Packet packet{{.flags = VnetHeader::kNeedsChecksum, .checksum_start = l4, .checksum_offset = offset},
                frame};
  const bool v6 = l4 == 54;
  const std::size_t addresses = v6 ? 32 : 8;
  std::uint32_t sum = static_cast<std::uint32_t>(frame.size() - l4) + frame[v6 ? 20 : 23];
  for (std::size_t i = l4 - addresses; i < l4; i += 2)
    sum += static_cast<std::uint32_t>(frame[i] << 8 | frame[i + 1]);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  packet.frame[l4 + offset] = static_cast<std::uint8_t>(sum >> 8);
  packet.frame[l4 + offset + 1] = static_cast<std::uint8_t>(sum);
  return packet;
}

// What a NIC makes of a packet whose checksum is left to it.
Frame completed(const Packet& packet) {
  Frame frame = packet.frame;
  if (packet.header.flags != VnetHeader::kNeedsChecksum) return frame;
  std::uint32_t sum = 0;
  const std::size_t start = packet.header.checksum_start;
  for (std::size_t i = start; i < frame.size(); i++) sum += (i - start) % 2 == 0 ? frame[i] << 8 : frame[i];
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  frame.at(start + packet.header.checksum_offset) = static_cast<std::uint8_t>(~sum >> 8);
  frame.at(start + packet.header.checksum_offset + 1) = static_cast<std::uint8_t>(~sum);
  return frame;
}

TEST_F(AnswersClientTest, ReplyIsRightWhenTheRequestsChecksumWasLeftToTheNic) {
  start(example_plan(), [](vmlane_answers& answers) { answers.ra_interval = 0; });
  const NetnsScope inside(pod_->path());
  const WirePort guest("eth0");
  const auto ask = [&](const std::string& name, const Packet& question, std::uint16_t port_or_type) {
    guest.send(question);
    const auto is_reply = [&](const Frame& frame) {
      if (frame.size() < 60 || source_of(frame) != kVirtualGateway) return false;
      if (ether_type_of(frame) == kEtherTypeIpv4) return frame[37] == port_or_type;
      return frame[20] == 17 ? (frame[56] << 8 | frame[57]) == port_or_type : frame[54] == port_or_type;
    };
    const auto reply = guest.receive(is_reply);
    ASSERT_TRUE(reply) << name;
    EXPECT_EQ(reply->header.flags, question.header.flags) << name;
    EXPECT_TRUE(read_reply(completed(*reply)).sums_right) << name;
  };
  const Frame discover = make_dhcp(kAskingGuest, {.client_id = Bytes(33, 1)});
  const Frame solicit = make_dhcp6(kAskingGuest, {});
  const Frame router = make_router_solicitation(kAskingGuest, "fe80::ff:fe00:a");
  ask("discover", left_to_the_nic(discover, 34, 6), 68);
  ask("discover, complete", {.frame = discover}, 68);
  ask("solicit", left_to_the_nic(solicit, 54, 6), 546);
  ask("solicit, complete", {.frame = solicit}, 546);
  ask("rs", left_to_the_nic(router, 54, 2), 134);
  ask("rs, complete", {.frame = router}, 134);
}

// A guest on a macvtap: mv0 over low0, the program on mv0's egress.
class AnswersMacvtapTest : public HostFixture {
 protected:
  void SetUp() override {
    HostFixture::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    must({"ip", "link", "add", "low0", "type", "veth", "peer", "name", "low1"});
    must({"ip", "link", "set", "low1", "up"});
    must({"ip", "link", "set", "low0", "up"});
    must({"ip", "link", "add", "link", "low0", "name", "mv0", "address", kAskingGuest.to_string(), "type",
          "macvtap", "mode", "bridge"});
    must({"ip", "link", "set", "mv0", "addrgenmode", "none", "up"});
    const auto answers = value_of(answers::build_answers(example_plan()));
    answers->ra_interval = 0;
    probe_.emplace(*answers);
    attach();
    guest_.emplace(open_device());
  }
  void attach() const {
    LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(if_nametoindex("mv0")),
                .attach_point = BPF_TC_EGRESS);
    LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = probe_->program_for_macvtap());
    ASSERT_EQ(bpf_tc_hook_create(&hook), 0);
    ASSERT_EQ(bpf_tc_attach(&hook, &options), 0);
  }
  // The character device that QEMU would open.
  Fd open_device() const {
    const std::string index = std::to_string(if_nametoindex("mv0"));
    unsigned major_number = 0;
    unsigned minor_number = 0;
    const std::string numbers = slurp("/sys/class/net/mv0/tap" + index + "/dev");
    if (std::sscanf(numbers.c_str(), "%u:%u", &major_number, &minor_number) != 2)
      throw std::runtime_error("no tap device");
    const std::string path = directory() / "tap";
    if (::mknod(path.c_str(), S_IFCHR | 0600, makedev(major_number, minor_number)) != 0)
      throw std::runtime_error("mknod");
    return Fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  }
  // The reply to a question; the last byte of its ports, or the ICMPv6 type, tells it.
  std::optional<Packet> ask(const Packet& question) const {
    guest_->send(question);
    return guest_->receive([](const Frame& frame) { return source_of(frame) == kVirtualGateway; });
  }

  std::optional<Probe> probe_;
  std::optional<TapPort> guest_;
};

// A guest that takes no unfinished checksums gets them finished by the kernel, which is the proof of what
// stood there.
TEST_F(AnswersMacvtapTest, EveryProtocolIsAnsweredWithRightSums) {
  for (const bool offloads : {false, true}) {
    guest_->accept_offloads(offloads);
    const Frame discover = make_dhcp(kAskingGuest, {.client_id = Bytes(33, 1)});
    const Frame solicit = make_dhcp6(kAskingGuest, {});
    const Frame router = make_router_solicitation(kAskingGuest, "fe80::ff:fe00:a");
    const std::vector<Packet> questions{
        left_to_the_nic(discover, 34, 6),
        {.frame = discover},
        left_to_the_nic(solicit, 54, 6),
        {.frame = solicit},
        left_to_the_nic(router, 54, 2),
        {.frame = router},
        {.frame = make_arp_request(kAskingGuest, "192.0.2.10", "192.0.2.1")},
    };
    for (const Packet& question : questions) {
      const auto reply = ask(question);
      ASSERT_TRUE(reply) << "question of " << question.frame.size() << " bytes";
      if (!offloads) {
        EXPECT_EQ(reply->header.flags & VnetHeader::kNeedsChecksum, 0);
      }
      EXPECT_TRUE(read_reply(completed(*reply)).sums_right)
          << "question of " << question.frame.size() << " bytes";
    }
  }
  EXPECT_EQ(probe_->count(VMLANE_COUNT_OFFER), 4U);
}

TEST_F(AnswersMacvtapTest, PassingFrameBringsARefreshAndGoesItsWay) {
  const auto answers = value_of(answers::build_answers(example_plan()));
  answers->last_ra = 1;
  probe_->set(*answers);
  const PacketSocket outside("", "low1");
  const Frame question = make_arp_request(kAskingGuest, "192.0.2.10", "192.0.2.2");
  const auto reply = ask({.frame = question});
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->frame.at(54), 134);
  EXPECT_EQ(probe_->count(VMLANE_COUNT_RA_REFRESH), 1U);
  EXPECT_TRUE(
      outside.receive([&](const Frame& frame) { return frame == question; }, std::chrono::seconds(5)));
}

TEST_F(AnswersClientTest, TaggedAndForeignFramesPass) {
  start(example_plan());
  const PacketSocket host("", "v0");
  const NetnsScope inside(pod_->path());
  const WirePort guest("eth0");
  const Frame discover = make_dhcp(kAskingGuest, {});
  guest.send(with_vlan_tag({.frame = discover}, 0x8100, 7));
  EXPECT_TRUE(eventually([&] {
    return host
        .receive([&](const Frame& frame) { return frame.size() >= discover.size(); },
                 std::chrono::milliseconds(200))
        .has_value();
  }));
  EXPECT_EQ(probe_->count(VMLANE_COUNT_OFFER), 0U);
}

}  // namespace
}  // namespace vmlane::test
