// SPDX-License-Identifier: Apache-2.0
#include "tests/support/lab.h"

#include <signal.h>

#include <filesystem>
#include <thread>

#include "tests/support/paths.h"

namespace vmlane::test {
namespace {

using namespace std::chrono_literals;

// The lab with pods only: everything but guests.
class LabPods : public LabFixture {
 protected:
  std::string write_objects(
      const std::string& ipam = R"({"type": "host-local", "subnet": "192.0.2.0/24"})") const {
    const auto file = directory() / "objects.yaml";
    spit(file, R"(
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: blue}
spec:
  config: '{"cniVersion": "1.1.0", "name": "blue", "type": "vmlane-veth", "bridge": "br1", "isGateway": true, "mtu": 1400,
            "capabilities": {"mac": true}, "ipam": )" +
                   ipam + R"(}'
---
apiVersion: v1
kind: Pod
metadata: {name: a, annotations: {k8s.v1.cni.cncf.io/networks: blue@net1}}
spec: {containers: [{name: main, command: [sh, -c, "echo hello; exec sleep 1000"]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, annotations: {k8s.v1.cni.cncf.io/networks: '[{"name": "blue", "mac": "02:00:00:00:00:0b"}]'}}
spec: {containers: [{name: main}]}
)");
    return file;
  }
};

TEST_F(LabPods, ComesUpWorksAndLeavesNothing) {
  const auto up = lab("up", {write_objects()});
  ASSERT_TRUE(up.ok()) << up.err;
  EXPECT_NE(
      up.out.find(
          "default/b  pod   veth  default/blue  net1    02:00:00:00:00:0b  192.0.2.3/24  1400  running"),
      std::string::npos)
      << up.out;
  const auto pids = processes();
  EXPECT_EQ(pids.size(), 2U);
  EXPECT_TRUE(exec("a", {"ping", "-c", "1", "-w", "30", "192.0.2.3"}).ok());
  EXPECT_EQ(slurp(lab_dir() / "log/default_a.log"), "hello\n");
  EXPECT_EQ(link_names(""), std::vector<std::string>{"lo"}) << "the bridge belongs to the lab's own node";

  const auto again = lab("up", {write_objects()});
  EXPECT_EQ(again.status, 1);
  EXPECT_NE(again.err.find("there is a lab in " + lab_dir().string() + " already"), std::string::npos)
      << again.err;

  const auto down = lab("down");
  EXPECT_TRUE(down.ok()) << down.err;
  expect_nothing_left(pids);
  EXPECT_TRUE(lab("down").ok()) << "a second time there is nothing to do";
}

TEST_F(LabPods, ExecPassesStatusStreamsAndItsOwnNetwork) {
  ASSERT_TRUE(lab("up", {write_objects()}).ok());
  const auto split = exec("a", {"sh", "-c", "echo out; echo err >&2; exit 9"});
  EXPECT_EQ(split.status, 9);
  EXPECT_EQ(split.out, "out\n");
  EXPECT_EQ(split.err, "err\n");
  EXPECT_EQ(exec("default/a", {"ls", "/sys/class/net"}).out, "lo\nnet1\n");
  EXPECT_NE(lab("exec", {"--host", "--", "ip", "-br", "link"}).out.find("br1"), std::string::npos);
  EXPECT_EQ(test::run(lab_command("exec", {"a", "--", "cat"}), {.input = "through"}).out, "through");
  EXPECT_EQ(lab("exec", {"--timeout", "1", "a", "--", "sleep", "50"}).status, 124);
  EXPECT_EQ(exec("a", {"no-such-command"}).status, 127);
  const auto unknown = exec("c", {"true"});
  EXPECT_EQ(unknown.status, 125);
  EXPECT_NE(unknown.err.find("it has default/a, default/b"), std::string::npos) << unknown.err;
  const auto console = lab("console", {"a"});
  EXPECT_EQ(console.status, 1);
  EXPECT_NE(console.err.find("is a pod"), std::string::npos) << console.err;
}

TEST_F(LabPods, EndedPodIsShownAndWhatItLeftIsStopped) {
  ASSERT_TRUE(lab("up", {write_objects()}).ok());
  const auto pids = processes();
  ASSERT_EQ(::kill(pids[0], SIGKILL), 0);
  EXPECT_TRUE(eventually([&] { return rows()[0]["state"] == "exited"; }));
  EXPECT_EQ(rows()[1]["state"], "running");
  const auto left = exec("b", {"sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"});
  ASSERT_TRUE(left.ok());
  const auto down = lab("down");
  EXPECT_TRUE(down.ok()) << down.err;
  expect_nothing_left({pids[1], static_cast<pid_t>(std::stoi(left.out))});
}

TEST_F(LabPods, FailedUpLeavesNothingUnlessKept) {
  const std::string objects = write_objects(R"({"type": "no-such-ipam"})");
  const auto up = lab("up", {objects});
  EXPECT_EQ(up.status, 1);
  EXPECT_NE(up.err.find("cannot attach pod default/a"), std::string::npos) << up.err;
  EXPECT_NE(up.err.find("no-such-ipam"), std::string::npos) << up.err;
  expect_nothing_left({});
  EXPECT_EQ(lab("up", {objects, "--keep"}).status, 1);
  EXPECT_TRUE(std::filesystem::exists(lab_dir() / "netns/host"));
  EXPECT_TRUE(lab("down").ok());
  expect_nothing_left({});
}

TEST_F(LabPods, InterruptedUpTakesDown) {
  // Holds the ADD of the first pod until it is told to go on.
  const auto fifo = directory() / "gate";
  ASSERT_TRUE(run({"mkfifo", fifo}).ok());
  const auto bin = directory() / "bin";
  std::filesystem::create_directory(bin);
  for (const char* program : {"vmlane-multus", "vmlane-veth"})
    std::filesystem::create_symlink(built(program), bin / program);
  spit(bin / "gate-ipam", "#!/bin/sh\nread line <" + fifo.string() + "\nexec /usr/lib/cni/host-local\n");
  ASSERT_TRUE(run({"chmod", "0755", bin / "gate-ipam"}).ok());
  const std::string objects = write_objects(
      R"({"type": "gate-ipam", "subnet": "192.0.2.0/24", "dataDir": ")" + ipam_dir().string() + R"("})");
  BackgroundProcess up(lab_command("up", {objects, "--bin-dir", bin}), {.stdout_path = directory() / "out"});
  ASSERT_TRUE(eventually([&] { return std::filesystem::exists(lab_dir() / "netns/default_a"); }, 20s));
  ASSERT_EQ(::kill(up.pid(), SIGINT), 0);
  BackgroundProcess opener({"sh", "-c", "while :; do echo go >" + fifo.string() + "; done"});
  EXPECT_EQ(up.wait(30s), 1);
  expect_nothing_left({});
}

TEST_F(LabPods, KilledUpIsCleanedByDown) {
  for (const auto delay : {20ms, 60ms, 120ms, 200ms}) {
    {
      BackgroundProcess up(lab_command("up", {write_objects()}), {.stdout_path = directory() / "out"});
      std::this_thread::sleep_for(delay);
      ::kill(up.pid(), SIGKILL);
      up.wait(5s);
    }
    const auto down = lab("down");
    EXPECT_TRUE(down.ok()) << down.err;
    expect_nothing_left({});
    if (std::filesystem::exists(lab_dir())) break;
  }
}

TEST_F(LabPods, LabOfAnEarlierBootIsCleaned) {
  ASSERT_TRUE(lab("up", {write_objects()}).ok());
  // As a reboot leaves a directory on disk: no mounts, no processes, and numbers that now belong to others.
  const auto pids = processes();
  ASSERT_TRUE(run({"sh", "-c", "umount " + (lab_dir() / "netns").string() + "/*"}).ok());
  for (const pid_t pid : pids) ::kill(pid, SIGKILL);
  BackgroundProcess bystander({"sleep", "1000"});
  Json state = Json::parse(slurp(lab_dir() / "lab.json"));
  state["bootId"] = "00000000000000000000000000000000";
  state["workloads"][0]["processes"][0]["pid"] = bystander.pid();
  spit(lab_dir() / "lab.json", state.dump());
  const auto down = lab("down");
  EXPECT_TRUE(down.ok()) << down.err;
  EXPECT_TRUE(bystander.running());
  expect_nothing_left(pids);
}

}  // namespace
}  // namespace vmlane::test
