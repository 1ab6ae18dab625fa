// SPDX-License-Identifier: Apache-2.0
// The crash matrix: ADD is made to fail, or is killed, at each of its steps, and DEL likewise. Field case
// F003(d).
#include <csignal>
#include <filesystem>
#include <functional>

#include "tests/conformance/lane_test.h"

namespace vmlane::test {
namespace {

// More steps than any operation has; a walk that gets here did not end.
constexpr int kMaxSteps = 200;

struct Setting {
  const char* name;
  bool administrators_bridge;
  bool neighbour;  // another pod is on the bridge already
  Json more;
};

class FaultTest : public LaneTest {
 protected:
  void SetUp() override {
    LaneTest::SetUp();
    if (!IsSkipped()) make_pod("a");
  }
  Pod& pod() { return *pods().at("a"); }
  CniCall faulty(const std::string& command, const Json& conf, const std::string& kind, int step) {
    CniCall out = call(command, pod().path(), conf);
    out.env["VMLANE_FAULT"] = kind + ":" + std::to_string(step);
    return out;
  }
  static std::vector<Setting> settings() {
    Json dual = {{"isDefaultGateway", true}, {"hairpinMode", true}};
    return {{"no bridge", false, false, dual},
            {"administrator's bridge", true, false, {{"isGateway", true}}},
            {"neighbour on the bridge", false, true, {{"isGateway", true}}},
            {"masquerading, guarded, isolated",
             false,
             false,
             {{"isGateway", true}, {"ipMasq", true}, {"macspoofchk", true}, {"portIsolation", true}}},
            {"masquerading neighbour", false, true, {{"isGateway", true}, {"ipMasq", true}}}};
  }
  static std::vector<Setting> borrowing_settings() {
    return {{"replaced address", true, false, {{"isGateway", true}, {"forceAddress", true}}},
            {"uplink", false, false, {{"uplink", "up0"}}}};
  }
  // Makes what stands there before the ADD.
  void prepare(const Setting& setting) {
    if (setting.administrators_bridge) {
      must({"ip", "link", "add", "br1", "address", "02:00:00:00:00:b1", "type", "bridge"});
      must({"ip", "link", "set", "br1", "up"});
    }
    if (setting.more.contains("forceAddress")) must({"ip", "addr", "add", "192.0.2.77/24", "dev", "br1"});
    if (setting.more.contains("uplink")) {
      must({"ip", "link", "add", "up0", "type", "veth", "peer", "name", "up0-peer"});
      // A link gets its queue the first time it is up, for good.
      must({"ip", "link", "set", "up0", "up"});
      must({"ip", "link", "set", "up0", "down"});
    }
    if (setting.neighbour) {
      ASSERT_CNI_OK(add(make_pod("b"), config(setting.more), "neighbour"));
    }
  }
  void clear(const Setting& setting) {
    if (setting.administrators_bridge) must({"ip", "link", "del", "br1"});
    if (setting.more.contains("uplink")) must({"ip", "link", "del", "up0"});
    if (setting.neighbour) {
      ASSERT_CNI_OK(del("/run/netns/b", config(setting.more), "neighbour"));
    }
  }
  void expect_failed_add_leaves_nothing(const std::vector<Setting>& settings);
  void expect_killed_add_is_removed(const std::vector<Setting>& settings);
  // Calls `walk` for every step of an operation, until it says that there was none; the number of steps.
  int walk(const std::function<bool(int)>& step) {
    int number = 1;
    while (number < kMaxSteps && !HasFailure() && step(number)) number++;
    return number - 1;
  }
};

void FaultTest::expect_failed_add_leaves_nothing(const std::vector<Setting>& settings) {
  for (const Setting& setting : settings) {
    SCOPED_TRACE(setting.name);
    prepare(setting);
    const Json conf = config(setting.more);
    const Snapshot before = snapshot();
    const int steps = walk([&](int number) {
      SCOPED_TRACE("fail:" + std::to_string(number));
      const CniOutcome outcome = run_call(faulty("ADD", conf, "fail", number));
      if (outcome.ok()) return false;
      EXPECT_CNI_ERROR(outcome, Code::kInternal);
      EXPECT_SNAP_CLEAN(before, snapshot());
      return true;
    });
    EXPECT_GE(steps, 8);
    EXPECT_LT(steps, kMaxSteps);
    ASSERT_CNI_OK(del(pod().path(), conf));
    EXPECT_SNAP_CLEAN(before, snapshot());
    clear(setting);
  }
}

void FaultTest::expect_killed_add_is_removed(const std::vector<Setting>& settings) {
  for (const Setting& setting : settings) {
    SCOPED_TRACE(setting.name);
    prepare(setting);
    const Json conf = config(setting.more);
    const Snapshot before = snapshot();
    // Step 0 is before the first; after one step is before the next.
    const int steps = walk([&](int number) {
      SCOPED_TRACE("kill after step " + std::to_string(number - 1));
      const CniOutcome outcome = run_call(number == 1 ? faulty("ADD", conf, "kill-before", 1)
                                                      : faulty("ADD", conf, "kill-after", number - 1));
      EXPECT_EQ(outcome.process.signal, outcome.ok() ? 0 : SIGKILL) << outcome;
      EXPECT_TRUE(outcome.ok() || outcome.silent()) << outcome;
      const CniOutcome removed = del(pod().path(), conf);
      EXPECT_CNI_OK(removed);
      EXPECT_TRUE(removed.silent()) << removed;
      EXPECT_SNAP_CLEAN(before, snapshot());
      return !outcome.ok();
    });
    EXPECT_GE(steps, 8);
    clear(setting);
  }
}

TEST_P(FaultTest, F003_AddThatFailsAtAnyStepLeavesNothing) {
  expect_failed_add_leaves_nothing(settings());
}

TEST_P(FaultTest, F003d_AddKilledAtAnyStepIsRemovedByOneDel) {
  expect_killed_add_is_removed(settings());
}

// What ADD takes from others and DEL gives back.
TEST_P(FaultTest, AddThatFailsAtAnyStepGivesBackWhatItTook) {
  expect_failed_add_leaves_nothing(borrowing_settings());
}

TEST_P(FaultTest, AddKilledAtAnyStepGivesBackWhatItTookByOneDel) {
  expect_killed_add_is_removed(borrowing_settings());
}

TEST_P(FaultTest, AddKilledAtAnyStepIsRemovedWhenThePodIsGone) {
  const Json conf = config({{"isGateway", true}});
  walk([&](int number) {
    SCOPED_TRACE("kill-after:" + std::to_string(number));
    make_pod("a");
    const CniOutcome outcome = run_call(faulty("ADD", conf, "kill-after", number));
    pod().remove();
    EXPECT_CNI_OK(del(pod().path(), conf));
    EXPECT_EQ(link_names(""), idle_links());
    EXPECT_TRUE(reserved_addresses().empty());
    EXPECT_FALSE(std::filesystem::exists(record_file(id_of())));
    return !outcome.ok();
  });
}

TEST_P(FaultTest, AddKilledAtAnyStepCanBeRepeated) {
  const Json conf = config({{"isGateway", true}});
  const Snapshot before = snapshot();
  walk([&](int number) {
    SCOPED_TRACE("kill-after:" + std::to_string(number));
    const CniOutcome outcome = run_call(faulty("ADD", conf, "kill-after", number));
    if (outcome.ok()) return false;
    const CniOutcome again = add(pod(), conf);
    // A kill after the last step left a whole attachment, which only its DEL removes.
    const bool whole = !again.ok() && again.code() == static_cast<int>(Code::kConflict);
    EXPECT_TRUE(again.ok() || whole) << again;
    if (again.ok()) {
      EXPECT_CNI_OK(check(pod(), conf, *again.document));
    }
    EXPECT_EQ(reserved_addresses().size(), 1U);
    EXPECT_EQ(nics(), 1U);
    EXPECT_CNI_OK(del(pod().path(), conf));
    EXPECT_SNAP_CLEAN(before, snapshot());
    return true;
  });
  EXPECT_CNI_OK(del(pod().path(), conf));
}

TEST_P(FaultTest, DelThatFailsOrIsKilledAtAnyStepIsFinishedByTheNext) {
  const Json conf = config({{"isDefaultGateway", true}});
  const Snapshot before = snapshot();
  for (const char* kind : {"fail", "kill-after"}) {
    const int steps = walk([&](int number) {
      SCOPED_TRACE(std::string(kind) + ":" + std::to_string(number));
      const CniOutcome added = add(pod(), conf);
      EXPECT_CNI_OK(added);
      const CniOutcome outcome = run_call(faulty("DEL", conf, kind, number));
      EXPECT_CNI_OK(del(pod().path(), conf));
      EXPECT_SNAP_CLEAN(before, snapshot());
      return !outcome.ok();
    });
    EXPECT_GE(steps, 4) << kind;
  }
}

TEST_P(FaultTest, AddKilledAtAnyStepIsRemovedByGc) {
  const Json conf = config({{"isGateway", true}});
  Json gc_conf = conf;
  gc_conf["cni.dev/valid-attachments"] = Json::array();
  const Snapshot before = snapshot();
  walk([&](int number) {
    SCOPED_TRACE("kill-after:" + std::to_string(number));
    const CniOutcome outcome = run_call(faulty("ADD", conf, "kill-after", number));
    EXPECT_CNI_OK(run_call(call("GC", "", gc_conf)));
    EXPECT_SNAP_CLEAN(before, snapshot());
    return !outcome.ok();
  });
}

TEST_P(FaultTest, UnreadableFaultIsAnErrorAndNotIgnored) {
  CniCall call = faulty("ADD", config(), "explode", 1);
  expect_refused(call, Code::kBadEnvironment, {"VMLANE_FAULT", "explode:1"});
}

VMLANE_FOR_EACH_LANE(FaultTest);

}  // namespace
}  // namespace vmlane::test
