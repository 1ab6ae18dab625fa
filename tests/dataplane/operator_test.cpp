// SPDX-License-Identifier: Apache-2.0
// What an operator follows frames with, and holds them back with.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <sstream>

#include "core/hex.h"
#include "tests/dataplane/stream.h"
#include "tests/dataplane/switch_test.h"
#include "tests/support/long_run.h"
#include "tests/support/paths.h"

namespace vmlane::test {
namespace {

using std::chrono::milliseconds;

class SwitchOperator : public SwitchTest {
 protected:
  // The only row of a trace that is about a stage, or null.
  static Json step_of(const Json& trace, const std::string& stage) {
    for (const Json& step : trace["steps"]) {
      if (step.value("stage", "") == stage) return step;
    }
    return nullptr;
  }
  static std::string hex_of(const Frame& frame) { return to_hex(frame); }
  // What frames did to the ports: by port how many it got, and by port and reason how many were dropped.
  struct Effects {
    std::map<std::string, std::uint64_t> got;
    std::map<std::pair<std::string, std::string>, std::uint64_t> dropped;
  };
  Effects effects() const {
    Effects now;
    for (const Json& port : ask("ports"))
      now.got[port.value("port", "")] = port.value("tx", std::uint64_t{0});
    for (const Json& row : ask("drops"))
      now.dropped[{row.value("port", ""), row.value("reason", "")}] = row.value("frames", std::uint64_t{0});
    return now;
  }
};

TEST_F(SwitchOperator, SeesWhatWouldBecomeOfAPacketAndNobodyGetsIt) {
  start_switch();
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  const Json before = ask("ports");
  const RunResult told = switch_command(
      {"trace", id_of(a).substr(0, 12), "--destination", b.address->to_string(), "-o", "json"});
  ASSERT_TRUE(told.ok()) << told.err;
  const Json trace = Json::parse(told.out);
  EXPECT_EQ(trace["sent"], Json::array({id_of(b)})) << trace;
  EXPECT_EQ(trace["dropped"], Json::array()) << trace;
  EXPECT_EQ(step_of(trace, "source-guard")["outcome"], "passes");
  EXPECT_EQ(step_of(trace, "forwarding")["outcome"], b.mac.to_string() + " is at port " + id_of(b));
  EXPECT_EQ(step_of(trace, "output")["port"], id_of(b));
  EXPECT_FALSE(b.guest->receive_within(milliseconds(200)));
  EXPECT_EQ(ask("ports"), before) << "it counts as nothing";
  // As text, of a frame that is refused.
  const RunResult refused = switch_command(
      {"trace", id_of(a), "--destination", b.address->to_string(), "--source-mac", "02:00:00:00:00:99"});
  ASSERT_TRUE(refused.ok()) << refused.err;
  EXPECT_NE(refused.out.find("would be dropped at " + id_of(a) + ": mac"), std::string::npos) << refused.out;
}

TEST_F(SwitchOperator, ARehearsedFrameComesToWhatARealOneDoes) {
  start_switch();
  std::vector<Nic> nics;
  nics.push_back(connect_nic("a", inside()));
  nics.push_back(connect_nic("b", inside({{"spoofCheck", false}})));
  nics.push_back(connect_nic("c", inside({{"portIsolation", true}})));
  nics.push_back(connect_nic("d", inside({{"portIsolation", true}, {"mtu", 1280}})));
  std::mt19937 random(7);
  const std::vector<std::string> others = {"02:00:00:00:00:99", "ff:ff:ff:ff:ff:ff", "01:80:c2:00:00:03",
                                           "33:33:00:00:00:01"};
  const auto any_mac = [&] {
    const std::size_t choice = random() % (nics.size() + others.size());
    return choice < nics.size() ? nics[choice].mac : *MacAddress::parse(others[choice - nics.size()]);
  };
  const int count = rounds(150, 5000);
  for (int i = 0; i < count; i++) {
    Nic& from = nics[random() % nics.size()];
    const MacAddress source = random() % 3 != 0 ? from.mac : any_mac();
    const std::size_t size = random() % 4 == 0 ? 1400 : 10;
    Frame frame = make_test_frame(any_mac(), source, std::to_string(i) + std::string(size, 'x'));
    if (random() % 8 == 0) frame[12] = 0x81;
    const Effects before = effects();
    const Json trace = ask("trace", {{"port", id_of(from)}, {"frame", hex_of(frame)}});
    ASSERT_TRUE(trace.is_object()) << i;
    const Effects untouched = effects();
    ASSERT_EQ(untouched.got, before.got) << trace;
    ASSERT_EQ(untouched.dropped, before.dropped) << trace;
    const std::uint64_t received = port_of(from).value("rx", std::uint64_t{0});
    ASSERT_TRUE(from.guest->send(frame));
    ASSERT_TRUE(
        eventually([&] { return port_of(from).value("rx", std::uint64_t{0}) == received + 1; }, kPatience));
    for (Nic& nic : nics) {
      while (nic.guest->receive_within(milliseconds(0))) {
      }
    }
    Effects expected = before;
    for (const Json& port : trace["sent"]) expected.got[port.get<std::string>()]++;
    for (const Json& drop : trace["dropped"]) expected.dropped[{drop["port"], drop["reason"]}]++;
    const Effects after = effects();
    ASSERT_EQ(after.got, expected.got) << trace;
    ASSERT_EQ(after.dropped, expected.dropped) << trace;
  }
}

TEST_F(SwitchOperator, FollowsFramesAsTheyCome) {
  start_switch();
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  Nic c = connect_nic("c", inside());
  RunOptions options;
  options.stdout_path = directory() / "trace.out";
  BackgroundProcess ctl({built("vmlanectl"), "switch", "trace", id_of(a), "--live", "--frames", "2",
                         "--destination-mac", b.mac.to_string(), "-o", "json", "--config", node_json()},
                        options);
  ASSERT_TRUE(eventually([&] { return slurp(log_file()).find("followed") != std::string::npos; }, kPatience));
  ASSERT_TRUE(passes(a, c, "not this one"));
  ASSERT_TRUE(passes(a, b, "this one"));
  ASSERT_TRUE(
      a.guest->send(make_test_frame(b.mac, *MacAddress::parse("02:00:00:00:00:99"), "and this forged one")));
  ctl.wait(kPatience);
  std::istringstream lines(slurp(options.stdout_path));
  std::string line;
  ASSERT_TRUE(std::getline(lines, line));
  const Json first = Json::parse(line);
  EXPECT_EQ(first["sent"], Json::array({id_of(b)})) << first;
  EXPECT_EQ(first["rehearsed"], false);
  ASSERT_TRUE(std::getline(lines, line));
  const Json second = Json::parse(line);
  EXPECT_EQ(second["sent"], Json::array()) << second;
  EXPECT_EQ(second["dropped"], Json::array({Json{{"port", id_of(a)}, {"reason", "mac"}}})) << second;
  EXPECT_FALSE(std::getline(lines, line)) << line;
}

TEST_F(SwitchOperator, IsToldByNameWhatCannotBeTraced) {
  start_switch();
  Nic a = connect_nic("a", inside());
  const auto refuses = [&](std::vector<std::string> words, const std::string& name) {
    words.insert(words.begin(), {"trace", id_of(a)});
    const RunResult told = switch_command(words);
    EXPECT_FALSE(told.ok());
    EXPECT_NE(told.err.find(name), std::string::npos) << told.err;
  };
  refuses({}, "destination");
  refuses({"--destination", "192.0.2.x"}, "destination");
  refuses({"--destination", "192.0.2.200"}, "destination_mac");
  refuses({"--destination", "2001:db8::1"}, "source");
  refuses({"--frame", "0011"}, "frame");
  refuses({"--frame", std::string(60, 'x')}, "frame");
  RunOptions nobody;
  nobody.uid = 65534;
  for (const char* word : {"trace", "drain"}) {
    std::vector<std::string> words = {word};
    if (words.front() == "trace") words.insert(words.end(), {id_of(a), "--destination", "192.0.2.9"});
    EXPECT_FALSE(switch_command(words, nobody).ok());
  }
}

TEST_F(SwitchOperator, DrainsItAndLosesNothing) {
  start_switch();
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  Stream stream(a, b, 2000);
  ASSERT_TRUE(stream.runs());
  const RunResult told = switch_command({"drain", "-o", "json"});
  ASSERT_TRUE(told.ok()) << told.err;
  const Json drained = Json::parse(told.out);
  EXPECT_EQ(drained["on_the_way"], 0) << drained;
  EXPECT_EQ(ask("stats")["drained"], true);
  const std::uint64_t taken = port_of(a).value("rx", std::uint64_t{0});
  std::this_thread::sleep_for(milliseconds(300));
  EXPECT_EQ(port_of(a).value("rx", std::uint64_t{0}), taken) << "a drained switch took frames";
  EXPECT_TRUE(switch_command({"drain", "--end"}).ok());
  EXPECT_EQ(ask("stats")["drained"], false);
  ASSERT_TRUE(stream.runs());
  const Stream::Outcome outcome = stream.finish();
  EXPECT_EQ(outcome.lost, 0U) << outcome;
  EXPECT_GE(outcome.longest_gap_ms, 250.0) << outcome;
  EXPECT_NE(switch_command({"drain", "--end"}).err.find("not drained"), std::string::npos);
}

TEST_F(SwitchOperator, WhoForgetsThatHeDrainedItLeavesNobodyInTheDark) {
  start_switch();
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  ASSERT_TRUE(switch_command({"drain", "--seconds", "1"}).ok());
  EXPECT_TRUE(passes(a, b, "late"));
  EXPECT_EQ(ask("stats")["drained"], false);
}

TEST_F(SwitchOperator, UpgradesADrainedSwitch) {
  start_keeper();
  Nic a = connect_nic("a", inside());
  Nic b = connect_nic("b", inside());
  Stream stream(a, b, 1000);
  ASSERT_TRUE(stream.runs());
  ASSERT_TRUE(switch_command({"drain"}).ok());
  ASSERT_TRUE(switch_command({"restart"}).ok());
  ASSERT_TRUE(stream.runs());
  EXPECT_EQ(stream.finish().lost, 0U);
  EXPECT_EQ(ask("stats")["drained"], false);
}

}  // namespace
}  // namespace vmlane::test
