// SPDX-License-Identifier: Apache-2.0
// What vmlane-vhostuser does that other lanes' plugins do not.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "core/names.h"
#include "tests/dataplane/switch_test.h"
#include "tests/support/paths.h"

namespace vmlane::test {
namespace {

using VhostuserPlugin = SwitchTest;

TEST_F(VhostuserPlugin, AddNeedsASwitchOnlyWhenItIsToldTo) {
  Pod& pod = make_pod("c1");
  const Json strict = config({{"requireSwitch", true}});
  const CniOutcome refused = add(pod, strict);
  EXPECT_CNI_ERROR(refused, Code::kNotAvailable);
  EXPECT_NE(refused.message().find("requireSwitch"), std::string::npos) << refused;
  EXPECT_CNI_ERROR(run_call(call("STATUS", "", strict)), Code::kNotAvailable);
  EXPECT_CNI_OK(run_call(call("STATUS", "", config())));
  ASSERT_CNI_OK(add(pod, config()));
  ASSERT_CNI_OK(del(pod.path(), config()));
  start_switch();
  EXPECT_CNI_OK(run_call(call("STATUS", "", strict)));
  EXPECT_CNI_OK(add(pod, strict));
}

TEST_F(VhostuserPlugin, ThePodHasAPlaceholderAndTheResultASocket) {
  Pod& pod = make_pod("c1");
  const CniOutcome outcome = add(pod, config({{"mtu", 1400}, {"mac", "02:00:00:00:00:07"}}));
  ASSERT_CNI_OK(outcome);
  const Json interface = (*outcome.document)["interfaces"].back();
  const std::filesystem::path socket = interface.value("socketPath", "");
  EXPECT_EQ(socket.parent_path().parent_path(), node().ports_dir());
  struct stat status {};
  ASSERT_EQ(::stat(socket.parent_path().c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, node().owner_uid);
  EXPECT_EQ(status.st_gid, node().owner_gid);
  EXPECT_EQ(status.st_mode & 07777, 02770U);
  const Json link = link_of(pod.path(), "eth0");
  EXPECT_EQ(link.value("mtu", 0), 1400);
  EXPECT_EQ(link.value("address", ""), "02:00:00:00:00:07");
  EXPECT_EQ(link.value("operstate", ""), "DOWN") << "nobody opens it, so it has no carrier";
  EXPECT_TRUE(addresses_of(pod.path(), "eth0").empty());
  ASSERT_CNI_OK(del(pod.path(), config()));
  EXPECT_FALSE(std::filesystem::exists(socket.parent_path()));
  EXPECT_EQ(link_names(""), std::vector<std::string>{"lo"})
      << "bridge and uplink go with the last attachment";
}

TEST_F(VhostuserPlugin, OneUplinkServesAllOfANetworkAndGoesWithTheLast) {
  Pod& a = make_pod("a");
  Pod& b = make_pod("b");
  ASSERT_CNI_OK(add(a, config(), "a"));
  ASSERT_CNI_OK(add(b, config(), "b"));
  const std::string tap = names::uplink_tap(node().state_dir.string(), "bridge:br1");
  EXPECT_EQ(link_names(""), (std::vector<std::string>{"br1", "lo", tap}));
  ASSERT_CNI_OK(del(a.path(), config(), "a"));
  EXPECT_EQ(link_of("", tap).value("master", ""), "br1");
  ASSERT_CNI_OK(del(b.path(), config(), "b"));
  EXPECT_EQ(link_names(""), std::vector<std::string>{"lo"});
}

TEST_F(VhostuserPlugin, CheckTellsWhatIsGone) {
  Pod& pod = make_pod("c1");
  const CniOutcome added = add(pod, config());
  ASSERT_CNI_OK(added);
  EXPECT_CNI_OK(check(pod, config(), *added.document));
  const std::string tap = names::uplink_tap(node().state_dir.string(), "bridge:br1");
  must({"ip", "link", "set", tap, "nomaster"});
  EXPECT_CNI_ERROR(check(pod, config(), *added.document), Code::kChanged);
  must({"ip", "link", "set", tap, "master", "br1"});
  const std::filesystem::path socket = (*added.document)["interfaces"].back().value("socketPath", "");
  std::filesystem::remove(socket.parent_path());
  const CniOutcome without = check(pod, config(), *added.document);
  EXPECT_CNI_ERROR(without, Code::kChanged);
  EXPECT_NE(without.message().find(socket.parent_path().string()), std::string::npos) << without;
}

TEST_F(VhostuserPlugin, F103_ADevicePluginsDirectoryIsUsedAndStays) {
  Pod& pod = make_pod("c1");
  const auto directory = node().ports_dir() / "slot-3";
  std::filesystem::create_directories(directory);
  const auto info = this->directory() / "devinfo" / "blue.json";
  const Json conf =
      config({{"runtimeConfig", {{"deviceID", "slot-3"}, {"CNIDeviceInfoFile", info.string()}}}});
  const CniOutcome outcome = add(pod, conf);
  ASSERT_CNI_OK(outcome);
  const std::string socket = (*outcome.document)["interfaces"].back().value("socketPath", "");
  EXPECT_EQ(socket, (directory / "port.sock").string());
  const Json told = Json::parse(slurp(info));
  EXPECT_EQ(told["type"], "vhost-user");
  EXPECT_EQ(told["vhost-user"], (Json{{"mode", "server"}, {"path", socket}}));
  ASSERT_CNI_OK(del(pod.path(), conf));
  EXPECT_FALSE(std::filesystem::exists(info));
  EXPECT_TRUE(std::filesystem::exists(directory));
}

TEST_F(VhostuserPlugin, RefusesByNameWhatItCannotDo) {
  Pod& pod = make_pod("c1");
  const auto refuses = [&](const Json& keys, Code code, const std::string& name) {
    const CniOutcome outcome = add(pod, config(keys));
    EXPECT_CNI_ERROR(outcome, code);
    EXPECT_NE(outcome.message().find(name), std::string::npos) << outcome;
  };
  refuses({{"rings", "packed"}}, Code::kUnsupportedField, "rings");
  refuses({{"rings", "round"}}, Code::kInvalidConfig, "rings");
  refuses({{"vlanTrunk", {{{"id", 7}}}}}, Code::kUnsupportedField, "vlanTrunk");
  refuses({{"hairpinMode", true}}, Code::kUnsupportedField, "hairpinMode");
  refuses({{"enabledad", true}}, Code::kUnsupportedField, "enabledad");
  refuses({{"learnAddresses", "any"}, {"ipam", nullptr}}, Code::kUnsupportedField, "learnAddresses");
  refuses({{"bridge", nullptr}, {"uplink", "eth1"}}, Code::kInvalidConfig, "uplink");
  refuses({{"bridge", nullptr}, {"allowNode", true}}, Code::kInvalidConfig, "allowNode");
  refuses({{"bridge", nullptr}, {"isGateway", true}}, Code::kInvalidConfig, "isGateway");
  refuses({{"ipam", {{"type", "dhcp"}}}}, Code::kUnsupportedField, "dhcp");
}

TEST_F(VhostuserPlugin, F036_RefusesASocketPathThatNoSocketCanHave) {
  const auto deep = directory() / std::string(80, 'd');
  configure_node({{"runDir", deep.string()}});
  const CniOutcome outcome = add(make_pod("c1"), config());
  EXPECT_CNI_ERROR(outcome, Code::kInvalidConfig);
  EXPECT_NE((outcome.message() + outcome.details()).find("runDir"), std::string::npos) << outcome;
}

TEST_F(VhostuserPlugin, AnOperatorSeesTheFramesOfAPort) {
  start_switch();
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  const auto file = directory() / "frames.pcap";
  RunOptions options;
  BackgroundProcess ctl({built("vmlanectl"), "switch", "capture", id_of(a), "--frames", "2", "--seconds",
                         "60", "--bytes", "64", "--write", file, "--config", node_json()},
                        options);
  ASSERT_TRUE(eventually([&] { return slurp(log_file()).find("captured") != std::string::npos; }, kPatience));
  const std::string text = "look at this" + std::string(200, '.');
  ASSERT_TRUE(passes(a, b, text));
  ASSERT_TRUE(passes(b, a, "and at this"));
  ctl.wait(kPatience);
  const std::string pcap = slurp(file);
  constexpr std::size_t kFileHeader = 24;
  constexpr std::size_t kFrameHeader = 16;
  constexpr std::size_t kKept = 64;
  constexpr std::size_t kPadded = 60;
  ASSERT_EQ(pcap.size(), kFileHeader + kFrameHeader + kKept + kFrameHeader + kPadded);
  EXPECT_EQ(static_cast<unsigned char>(pcap[kFileHeader + 8]), kKept) << "bytes that were kept";
  EXPECT_EQ(static_cast<unsigned char>(pcap[kFileHeader + 12]), kEthernetHeader + text.size())
      << "and that there were";
  EXPECT_NE(pcap.find("look at this"), std::string::npos);
  EXPECT_NE(pcap.find("and at this"), std::string::npos);
  // Nobody else may look.
  RunOptions nobody;
  nobody.uid = 65534;
  EXPECT_NE(run({built("vmlanectl"), "switch", "capture", id_of(a), "--config", node_json()}, nobody).status,
            0);
}

TEST_F(VhostuserPlugin, ACaptureThatIsRefusedLeavesItsFileAlone) {
  const auto file = directory() / "frames.pcap";
  const auto capture = [&](const std::string& port) {
    return run({built("vmlanectl"), "switch", "capture", port, "--seconds", "1", "--write", file, "--config",
                node_json()});
  };
  const std::string kept = "frames of yesterday";
  spit(file, kept);
  EXPECT_FALSE(capture("3f2a").ok()) << "no switch runs";
  EXPECT_EQ(slurp(file), kept);
  start_switch();
  EXPECT_FALSE(capture("3f2a").ok()) << "there is no such port";
  EXPECT_EQ(slurp(file), kept);
  std::filesystem::remove(file);
  EXPECT_FALSE(capture("3f2a").ok());
  EXPECT_FALSE(std::filesystem::exists(file)) << "made for nothing";
  // What cannot be written is told before the switch is asked: it captures nothing for nobody.
  Nic a = connect_nic("a", inside());
  std::filesystem::create_directory(file);
  EXPECT_NE(capture(id_of(a)).err.find("cannot write"), std::string::npos);
  EXPECT_EQ(slurp(log_file()).find("captured"), std::string::npos);
}

TEST_F(VhostuserPlugin, ToldInTheFormatOfPrometheus) {
  start_switch();
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  ASSERT_TRUE(passes(a, b, "counted"));
  ASSERT_TRUE(a.guest->send(make_test_frame(b.mac, *MacAddress::parse("02:00:00:00:00:99"), "forged")));
  ASSERT_TRUE(eventually([&] { return drops_at(a, "mac") == 1; }, kPatience));
  const RunResult told = run({built("vmlanectl"), "switch", "metrics", "--config", node_json()});
  ASSERT_TRUE(told.ok()) << told.err;
  const std::string labels = "{port=\"" + id_of(a) + "\",network=\"switch:blue\",";
  EXPECT_NE(told.out.find("# TYPE vmlane_switch_received_frames_total counter"), std::string::npos)
      << told.out;
  EXPECT_NE(told.out.find("vmlane_switch_received_frames_total" + labels + "workload=\"blue/pod/a\"} 2\n"),
            std::string::npos)
      << told.out;
  EXPECT_NE(told.out.find("vmlane_switch_dropped_frames_total" + labels + "reason=\"mac\"} 1\n"),
            std::string::npos)
      << told.out;
}

TEST_F(VhostuserPlugin, GivesThemOverHttpWhereItIsTold) {
  const std::string address = "127.0.0.1:9464";
  start_keeper({}, {"--metrics", address});
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  ASSERT_TRUE(passes(a, b, "counted"));
  const auto get = [&] { return run({"curl", "-sS", "--max-time", "10", "http://" + address + "/metrics"}); };
  const auto has = [&](const std::string& line) {
    const RunResult got = get();
    return got.ok() && got.out.find(line) != std::string::npos;
  };
  const std::string sent = "vmlane_switch_sent_frames_total{port=\"" + id_of(b) +
                           "\",network=\"switch:blue\",workload=\"blue/pod/b\"} 1\n";
  EXPECT_TRUE(has(sent)) << get().out << get().err;
  EXPECT_TRUE(has("vmlane_switch_port_state{port=\"" + id_of(a) +
                  "\",network=\"switch:blue\",workload=\"blue/pod/a\",state=\"running\"} 1\n"));
  EXPECT_TRUE(has("vmlane_switch_round_seconds_bucket{le=\"+Inf\"}"));
  // The switch after this one takes the address over.
  const int before = ask_keeper("status").value("pid", 0);
  ASSERT_TRUE(switch_command({"restart"}).ok());
  ASSERT_NE(ask_keeper("status").value("pid", 0), before);
  ASSERT_TRUE(eventually([&] { return get().ok(); }, kPatience)) << get().err;
  ASSERT_TRUE(passes(a, b, "counted by the next one"));
  EXPECT_TRUE(has(sent)) << get().out;
}

TEST_F(VhostuserPlugin, RefusesWhatIsNoAddressForMetrics) {
  for (const char* text :
       {"9464", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:x", "localhost:9464", "::1:9464", "127.0.0.1:65536"}) {
    const RunResult refused = run({built("vmlane-switch"), "--metrics", text});
    EXPECT_EQ(refused.status, 1) << text;
    EXPECT_NE(refused.err.find(std::string("\"") + text + "\""), std::string::npos) << refused.err;
  }
}

TEST_F(VhostuserPlugin, AnOperatorTakesAPortOutOfServiceAndBackIn) {
  start_switch();
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  Nic c = connect_nic("c", inside());
  ASSERT_TRUE(passes(a, b, "before"));
  const auto ctl = [this](std::vector<std::string> words) {
    std::vector<std::string> command = {built("vmlanectl"), "switch"};
    command.insert(command.end(), words.begin(), words.end());
    command.insert(command.end(), {"--config", node_json(), "-o", "json"});
    return run(command);
  };
  const RunResult told = ctl({"quarantine", id_of(a).substr(0, 12), "--reason", "a test"});
  ASSERT_TRUE(told.ok()) << told.err;
  EXPECT_EQ(port_of(a).value("quarantined", ""), "a test");
  ASSERT_TRUE(a.guest->send(make_test_frame(b.mac, a.mac, "from behind the fence")));
  ASSERT_TRUE(b.guest->send(make_test_frame(a.mac, b.mac, "over the fence")));
  EXPECT_TRUE(eventually([&] { return drops_at(a, "quarantined") == 2; }, kPatience));
  EXPECT_TRUE(passes(b, c, "its neighbours"));
  // It holds for the next switch too.
  kill_switch();
  start_switch();
  for (Nic* nic : {&a, &b, &c}) connect(*nic);
  EXPECT_EQ(port_of(a).value("quarantined", ""), "a test");
  ASSERT_TRUE(a.guest->send(make_test_frame(b.mac, a.mac, "again")));
  EXPECT_TRUE(eventually([&] { return drops_at(a, "quarantined") > 0; }, kPatience));
  ASSERT_TRUE(ctl({"release", id_of(a)}).ok());
  EXPECT_TRUE(passes(a, b, "released"));
  const RunResult twice = ctl({"release", id_of(a)});
  EXPECT_NE(twice.status, 0);
  EXPECT_NE(twice.err.find("not in quarantine"), std::string::npos) << twice.err;
  const RunResult nobody = ctl({"quarantine", "ffff-nobody", "--reason", "x"});
  EXPECT_NE(nobody.err.find("ffff-nobody"), std::string::npos) << nobody.err;
}

// A process of that user, of whose groups only this one counts.
bool may_enter(uid_t user, gid_t group, const std::filesystem::path& path) {
  return run({"setpriv", "--reuid", std::to_string(user), "--regid", std::to_string(group), "--clear-groups",
              "ls", path.string()})
      .ok();
}

TEST_F(VhostuserPlugin, F058_PortDirectoryIsItsUsersAloneWhoeverCalls) {
  std::filesystem::permissions(directory(), std::filesystem::perms(0755));
  for (const mode_t mask : {0077, 0000}) {
    const mode_t before = ::umask(mask);
    const CniOutcome outcome = add(make_pod("c1"), config());
    ::umask(before);
    ASSERT_CNI_OK(outcome);
    const std::filesystem::path socket = (*outcome.document)["interfaces"].back().value("socketPath", "");
    struct stat status {};
    ASSERT_EQ(::stat(socket.parent_path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 02770U) << "whatever the caller's umask";
    EXPECT_TRUE(may_enter(node().owner_uid, 9999, socket.parent_path()));
    EXPECT_TRUE(may_enter(9999, node().owner_gid, socket.parent_path()));
    EXPECT_FALSE(may_enter(9999, 9999, socket.parent_path()));
    ASSERT_CNI_OK(del(pods().at("c1")->path(), config()));
  }
}

TEST_F(VhostuserPlugin, F058_RunDirWithASlashAtItsEndIsNamed) {
  spit(node_json(),
       Json{{"stateDir", (directory() / "state").string()}, {"runDir", (directory() / "run").string() + "/"}}
           .dump());
  const CniOutcome outcome = add(make_pod("c1"), config());
  EXPECT_CNI_ERROR(outcome, Code::kInvalidConfig);
  EXPECT_NE(outcome.message().find("runDir"), std::string::npos) << outcome;
}

TEST_F(VhostuserPlugin, F058_WhatIsNotOursIsNeitherFollowedNorRemoved) {
  namespace fs = std::filesystem;
  const Json conf = config({{"runtimeConfig", {{"deviceID", "slot-3"}}}});
  make_pod("c1");
  const auto refuses = [&](Code code, const fs::path& named) {
    const CniOutcome outcome = add(*pods().at("c1"), conf);
    EXPECT_CNI_ERROR(outcome, code);
    EXPECT_NE(outcome.message().find(named.string()), std::string::npos) << outcome;
    EXPECT_CNI_OK(del(pods().at("c1")->path(), conf));
  };
  const fs::path elsewhere = directory() / "elsewhere";
  fs::create_directories(elsewhere);
  fs::permissions(elsewhere, fs::perms(0700));
  fs::create_directories(node().ports_dir().parent_path());
  fs::create_directory_symlink(elsewhere, node().ports_dir());
  refuses(Code::kIo, node().ports_dir());
  fs::remove(node().ports_dir());

  fs::create_directories(node().ports_dir());
  fs::create_directory_symlink(elsewhere, node().ports_dir() / "slot-3");
  refuses(Code::kIo, node().ports_dir() / "slot-3");
  struct stat status {};
  ASSERT_EQ(::stat(elsewhere.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700U);
  EXPECT_EQ(status.st_uid, 0U);
  fs::remove(node().ports_dir() / "slot-3");

  const fs::path in_its_place = node().ports_dir() / "slot-3" / "port.sock";
  fs::create_directories(in_its_place.parent_path());
  spit(in_its_place, "somebody's");
  refuses(Code::kConflict, in_its_place);
  EXPECT_EQ(slurp(in_its_place), "somebody's");
}

TEST_F(VhostuserPlugin, RefusesNicsOfOneNetworkThatDisagreeOnIsolation) {
  ASSERT_CNI_OK(add(make_pod("a"), config(), "a"));
  const CniOutcome other = add(make_pod("b"), config({{"portIsolation", true}}), "b");
  EXPECT_CNI_ERROR(other, Code::kConflict);
  EXPECT_NE(other.message().find("portIsolation"), std::string::npos) << other;
}

TEST_F(VhostuserPlugin, TheCommandLineShowsTheSwitch) {
  const auto ctl = [this](const std::string& what) {
    return run({built("vmlanectl"), "switch", what, "--config", node_json(), "-o", "json"});
  };
  const RunResult without = ctl("ports");
  EXPECT_EQ(without.status, 1);
  EXPECT_NE(without.err.find("switch.sock"), std::string::npos) << without.err;
  start_switch();
  Nic a = connect_nic("a", config());
  const Json ports = Json::parse(ctl("ports").out);
  ASSERT_EQ(ports.size(), 2U) << ports;
  EXPECT_EQ(ports[0]["state"], "running");
  EXPECT_EQ(ports[0]["mac"], a.mac.to_string());
  EXPECT_EQ(ports[1]["kind"], "uplink");
  EXPECT_EQ(ports[1]["state"], "running");
  EXPECT_EQ(Json::parse(ctl("macs").out)[0]["mac"], a.mac.to_string());
  EXPECT_TRUE(Json::parse(ctl("stats").out).contains("worker"));
  EXPECT_TRUE(Json::parse(ctl("drops").out).is_array());
}

}  // namespace
}  // namespace vmlane::test
