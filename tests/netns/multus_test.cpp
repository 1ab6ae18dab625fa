// SPDX-License-Identifier: Apache-2.0
// vmlane-multus with real plugins: ours, the reference bridge, and scripts that misbehave.
#include <sys/mount.h>
#include <sys/stat.h>

#include <filesystem>
#include <functional>
#include <set>

#include "core/names.h"
#include "core/record.h"
#include "tests/support/plugin.h"
#include "tests/support/snapshot.h"
#include "tests/support/traffic.h"

namespace vmlane::test {
namespace {

namespace fs = std::filesystem;

class MultusTest : public PluginFixture {
 protected:
  std::string plugin() const override { return "vmlane-multus"; }

  void SetUp() override {
    PluginFixture::SetUp();
    if (IsSkipped()) return;
    fs::create_directories(objects());
    fs::create_directories(scripts());
    configure_node({{"objectPaths", {objects().string()}}});
    pod_ = &make_pod("p1");
    before_ = snapshot();
  }

  fs::path objects() const { return directory() / "objects"; }
  fs::path scripts() const { return directory() / "bin"; }
  Snapshot snapshot() const { return take_snapshot(node(), ipam_dir(), pods()); }

  void write_object(const Json& object, const std::string& file) const {
    spit(objects() / (file + ".json"), object.dump());
  }
  void nad(const std::string& name, const Json& config) const {
    write_object({{"apiVersion", "k8s.cni.cncf.io/v1"},
                  {"kind", "NetworkAttachmentDefinition"},
                  {"metadata", {{"namespace", "blue"}, {"name", name}}},
                  {"spec", {{"config", config.dump()}}}},
                 "nad-" + name);
  }
  void pod_object(const Json& networks) const {
    Json metadata = {{"namespace", "blue"}, {"name", "web"}, {"uid", "uid-1"}};
    if (!networks.is_null())
      metadata["annotations"]["k8s.v1.cni.cncf.io/networks"] =
          networks.is_string() ? networks : Json(networks.dump());
    write_object({{"apiVersion", "v1"}, {"kind", "Pod"}, {"metadata", metadata}}, "pod");
  }
  void script(const std::string& name, const std::string& body) const {
    spit(scripts() / name, "#!/bin/sh\n" + body + "\n");
    ::chmod((scripts() / name).c_str(), 0755);
  }

  // A network on a bridge with the lane or the reference plugin.
  Json network(const std::string& type, const std::string& bridge, const std::string& subnet,
               const Json& more = Json::object()) const {
    Json config = {{"cniVersion", "1.0.0"}, {"type", type}, {"bridge", bridge}, {"ipam", host_local(subnet)}};
    config.update(more);
    return config;
  }

  CniOutcome meta(const std::string& command, const std::string& netns,
                  const Json& keys = Json::object()) const {
    Json conf = {
        {"cniVersion", "1.0.0"}, {"name", "meta"}, {"type", "vmlane-multus"}, {"binDir", scripts().string()}};
    conf.update(keys);
    CniCall cni = call(command, netns, conf);
    cni.args = "IgnoreUnknown=true;K8S_POD_NAMESPACE=blue;K8S_POD_NAME=web;K8S_POD_UID=uid-1";
    return run_call(cni);
  }
  CniOutcome meta_add(const Json& keys = Json::object()) const { return meta("ADD", pod_->path(), keys); }
  CniOutcome meta_del() const { return meta("DEL", pod_->path()); }
  Json status() const {
    return Json::parse(slurp(node().network_status_dir() / "uid-1.json"), nullptr, false);
  }
  void expect_clean() const { EXPECT_SNAP_CLEAN(before_, snapshot()); }
  // Bridges outlive their pods.
  void remove_bridges() const {
    for (const std::string& name : link_names("")) {
      if (name.starts_with("br")) must({"ip", "link", "del", name});
    }
  }

  Pod* pod_ = nullptr;
  Snapshot before_;
};

TEST_F(MultusTest, AttachesOursAndTheReferencePluginAndTakesAllAway) {
  const std::string tap_ifname = names::kubevirt_pod_ifname("vmnet");
  nad("first", network("vmlane-veth", "br1", "192.0.2.0/24", {{"isDefaultGateway", true}}));
  nad("second", network("bridge", "br2", "198.51.100.0/24"));
  nad("vmnet", network("vmlane-tap", "br1", "192.0.2.0/24", {{"cniVersion", "1.0.0"}, {"name", "vmnet"}}));
  pod_object(Json::parse(R"([{"name":"second"},{"name":"vmnet","interface":")" + tap_ifname +
                         R"(","mac":"02:00:00:00:00:0a"}])"));

  const auto added = meta_add({{"clusterNetwork", "blue/first"}});
  ASSERT_CNI_OK(added);
  ASSERT_TRUE(added.document);
  EXPECT_EQ((*added.document)["cniVersion"], "1.0.0");
  EXPECT_EQ(addresses_of(pod_->path(), "eth0").size(), 1U);
  EXPECT_EQ(addresses_of(pod_->path(), "net1").size(), 1U);
  EXPECT_EQ(link_of(pod_->path(), tap_ifname)["address"], "02:00:00:00:00:0a");
  EXPECT_TRUE(reach(pod_->path(), "192.0.2.1").all());

  ASSERT_EQ(status().size(), 3U);
  EXPECT_EQ(status()[0]["name"], "blue/first");
  EXPECT_EQ(status()[0]["default"], true);
  EXPECT_EQ(status()[2]["interface"], tap_ifname);
  EXPECT_EQ(status()[2]["mac"], "02:00:00:00:00:0a");
  // The lane knows which object it stands for.
  const auto records = RecordStore(node()).list();
  ASSERT_TRUE(records);
  ASSERT_EQ(records->records.size(), 2U);
  EXPECT_EQ(records->records[1].nad, "blue/vmnet");

  EXPECT_CNI_OK(meta_del());
  EXPECT_CNI_OK(meta_del());
  remove_bridges();
  expect_clean();
}

TEST_F(MultusTest, PodWithoutNetworksGetsAnEmptyResult) {
  pod_object(nullptr);
  const auto added = meta_add();
  ASSERT_CNI_OK(added);
  EXPECT_EQ((*added.document)["cniVersion"], "1.0.0");
  EXPECT_CNI_OK(meta_del());
  expect_clean();
}

TEST_F(MultusTest, F106ForeignInterfaceIsLeftAlone) {
  nad("second", network("bridge", "br2", "198.51.100.0/24"));
  pod_object("second");
  ASSERT_TRUE(pod_->run({"ip", "link", "add", "net1", "type", "bridge"}).ok());
  before_ = snapshot();
  const auto added = meta_add();
  EXPECT_CNI_ERROR(added, Code::kConflict);
  EXPECT_NE(added.message().find("net1"), std::string::npos);
  expect_clean();
  EXPECT_CNI_OK(meta_del());
  EXPECT_EQ(link_of(pod_->path(), "net1")["linkinfo"]["info_kind"], "bridge");
  expect_clean();
}

TEST_F(MultusTest, F106SecondAddLeavesTheFirstWorking) {
  nad("first", network("vmlane-veth", "br1", "192.0.2.0/24", {{"isDefaultGateway", true}}));
  pod_object("first");
  ASSERT_CNI_OK(meta_add());
  EXPECT_CNI_ERROR(meta_add(), Code::kConflict);
  EXPECT_TRUE(reach(pod_->path(), "192.0.2.1").all());
  EXPECT_CNI_OK(meta_del());
}

TEST_F(MultusTest, F023OneBrokenPluginDoesNotKeepTheOthers) {
  nad("one", network("bridge", "br1", "192.0.2.0/24"));
  nad("two", {{"cniVersion", "1.0.0"}, {"type", "flaky"}});
  nad("three", network("bridge", "br3", "198.51.100.0/24"));
  const std::string good =
      R"([ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0","interfaces":[{"name":"x","sandbox":"y"}]}'; exit 0)";
  script("flaky", good);
  pod_object("one,two,three");
  ASSERT_CNI_OK(meta_add());

  script("flaky", "echo 'device is busy' >&2; exit 1");
  const auto failed = meta_del();
  EXPECT_CNI_ERROR(failed, Code::kDelegate);
  EXPECT_NE(failed.message().find("blue/two"), std::string::npos);
  EXPECT_EQ(failed.details(), "device is busy");
  EXPECT_EQ(link_names(pod_->path()), std::vector<std::string>{"lo"});
  EXPECT_TRUE(reserved_addresses("one").empty());

  script("flaky", good);
  EXPECT_CNI_OK(meta_del());
  remove_bridges();
  expect_clean();
}

TEST_F(MultusTest, F023FailedAddTakesBackWhatWasMade) {
  nad("one", network("bridge", "br1", "192.0.2.0/24"));
  nad("two", {{"cniVersion", "1.0.0"}, {"type", "refuses"}});
  script(
      "refuses",
      R"([ "$CNI_COMMAND" = ADD ] || exit 0; echo '{"code":11,"msg":"not now","details":"full"}'; exit 1)");
  pod_object("one,two");
  const auto added = meta_add();
  EXPECT_CNI_ERROR(added, Code::kTryAgain);
  EXPECT_NE(added.message().find("network blue/two, interface net2, plugin refuses: not now"),
            std::string::npos)
      << added;
  EXPECT_EQ(added.details(), "full");
  remove_bridges();
  expect_clean();
}

TEST_F(MultusTest, KilledWhileAPluginRunsOneDelCleansUp) {
  nad("one", network("vmlane-veth", "br1", "192.0.2.0/24"));
  nad("two", {{"cniVersion", "1.0.0"}, {"type", "assassin"}});
  script("assassin", R"([ "$CNI_COMMAND" = ADD ] && kill -9 $PPID; exit 0)");
  pod_object("one,two");
  const auto added = meta_add();
  EXPECT_EQ(added.process.signal, SIGKILL);
  EXPECT_FALSE(link_of(pod_->path(), "net1").is_null());
  EXPECT_CNI_OK(meta_del());
  remove_bridges();
  expect_clean();
}

TEST_F(MultusTest, F029DelNeedsNoObjectsAndAddSaysTryAgain) {
  nad("one", network("vmlane-veth", "br1", "192.0.2.0/24"));
  pod_object("one");
  ASSERT_CNI_OK(meta_add());
  fs::rename(objects(), directory() / "away");
  const auto deleted = meta_del();
  EXPECT_CNI_OK(deleted);
  EXPECT_LT(deleted.process.duration, std::chrono::seconds(1));
  remove_bridges();
  expect_clean();

  EXPECT_CNI_ERROR(meta_add(), Code::kTryAgain);  // gone
  fs::create_directories(objects());
  ASSERT_EQ(::mkfifo((objects() / "pod.json").c_str(), 0600), 0);  // a FIFO that nobody writes
  EXPECT_CNI_ERROR(meta_add(), Code::kTryAgain);
  fs::remove(objects() / "pod.json");
  spit(objects() / "pod.json", "");  // cut
  const auto missing = meta_add();
  EXPECT_CNI_ERROR(missing, Code::kTryAgain);
  EXPECT_NE(missing.message().find("blue/web"), std::string::npos);
  EXPECT_NE(missing.details().find(objects().string()), std::string::npos);

  fs::remove_all(objects());
  fs::rename(directory() / "away", objects());
  EXPECT_CNI_OK(meta_add());
  EXPECT_CNI_OK(meta_del());
}

TEST_F(MultusTest, F029WhateverBecomesOfTheObjectsDelDoesNotAskThem) {
  nad("one", network("vmlane-veth", "br1", "192.0.2.0/24"));
  pod_object("one");
  const fs::path away = directory() / "away";
  const fs::path file = objects() / "pod.json";
  struct Accident {
    const char* name;
    std::function<void()> happen;
    // What is no object is a mistake that waiting does not mend.
    Code expected = Code::kTryAgain;
  };
  const std::vector<Accident> accidents = {
      {"removed", [] {}},
      {"empty", [&] { fs::create_directories(objects()); }},
      {"of 0 bytes", [&] { fs::create_directories(objects()), spit(file, ""); }},
      {"a link to nowhere",
       [&] { fs::create_directories(objects()), fs::create_symlink("/nowhere/x", file); }},
      {"a directory in a file's place", [&] { fs::create_directories(file); }},
      {"a FIFO that nobody writes", [&] { fs::create_directories(objects()), ::mkfifo(file.c_str(), 0600); }},
      {"an object of no kind", [&] { spit(objects(), "{}"); }, Code::kInvalidConfig},
      {"cut", [&] { fs::create_directories(objects()), spit(file, R"({"apiVersion":"v1","ki)"); },
       Code::kDecode}};
  for (const auto& [name, happen, expected] : accidents) {
    SCOPED_TRACE(name);
    ASSERT_CNI_OK(meta_add());
    fs::rename(objects(), away);
    happen();
    const auto deleted = meta_del();
    EXPECT_CNI_OK(deleted);
    EXPECT_LT(deleted.process.duration, std::chrono::seconds(1));
    expect_clean();
    const auto added = meta_add();
    EXPECT_NE(added.process.status, 0);
    EXPECT_EQ(added.code(), static_cast<int>(expected)) << added;
    EXPECT_LT(added.process.duration, std::chrono::seconds(5));
    expect_clean();
    fs::remove_all(objects());
    fs::rename(away, objects());
  }
  EXPECT_CNI_OK(meta_add()) << "the source is back";
  EXPECT_CNI_OK(meta_del());
}

TEST_F(MultusTest, F001NamespaceGoneEmptyUnsetOrSomethingElse) {
  nad("one", network("vmlane-veth", "br1", "192.0.2.0/24"));
  nad("two", network("vmlane-tap", "br2", "198.51.100.0/24"));
  pod_object("one,two");
  spit(directory() / "file", "");
  for (const std::optional<std::string>& path :
       {std::optional<std::string>("/run/netns/p1"), std::optional<std::string>(""),
        std::optional<std::string>(), std::optional<std::string>((directory() / "file").string()),
        std::optional<std::string>(directory().string())}) {
    pod_ = &make_pod("p1");
    ASSERT_CNI_OK(meta_add());
    pod_->remove();
    for (int i = 0; i < 2; i++) {
      CniCall cni = call("DEL", "", {{"cniVersion", "1.0.0"}, {"name", "meta"}, {"type", "vmlane-multus"}});
      cni.netns = path;
      const auto deleted = run_call(cni);
      EXPECT_CNI_OK(deleted);
      EXPECT_TRUE(deleted.silent()) << deleted;
    }
    EXPECT_EQ(link_names(""), std::vector<std::string>{"lo"}) << path.value_or("(unset)");
    EXPECT_TRUE(reserved_addresses("one").empty());
    EXPECT_TRUE(reserved_addresses("two").empty());
  }
}

TEST_F(MultusTest, F088FilesInTheWayAreNamedAndNothingOutsideIsTouched) {
  nad("one", network("vmlane-veth", "br1", "192.0.2.0/24"));
  pod_object("one");
  ASSERT_CNI_OK(meta_add());  // all directories are there from here on
  EXPECT_CNI_OK(meta_del());
  const fs::path outside = directory() / "outside";
  for (const fs::path& place :
       {node().state_dir / "multus", node().pods_dir(), node().network_status_dir()}) {
    SCOPED_TRACE(place.string());
    ASSERT_CNI_OK(meta_add());
    fs::rename(place, outside);
    fs::create_directory_symlink(outside, place);
    std::set<fs::path> precious;
    for (const auto& entry : fs::directory_iterator(outside)) precious.insert(entry.path());
    EXPECT_FALSE(precious.empty());
    EXPECT_CNI_OK(meta_del());
    for (const fs::path& file : precious) EXPECT_TRUE(fs::exists(file)) << file;
    const auto added = meta_add();
    EXPECT_NE(added.process.status, 0);
    EXPECT_NE((added.message() + added.details()).find(place.string()), std::string::npos) << added;
    fs::remove(place);
    fs::rename(outside, place);
    EXPECT_CNI_OK(meta_del()) << "the state is found again, if it was that";
    fs::remove(place / "uid-1.json");
    expect_clean();
  }
}

TEST_F(MultusTest, F088StateThatCannotBeWritten) {
  nad("one", network("vmlane-veth", "br1", "192.0.2.0/24"));
  pod_object("one");
  ASSERT_CNI_OK(meta_add());
  const fs::path state = node().state_dir;
  ASSERT_EQ(::mount(state.c_str(), state.c_str(), nullptr, MS_BIND, nullptr), 0);
  ASSERT_EQ(::mount(nullptr, state.c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr), 0);
  EXPECT_CNI_OK(meta_del());
  EXPECT_EQ(link_names(""), std::vector<std::string>{"lo"});
  EXPECT_TRUE(reserved_addresses("one").empty());
  CniCall other =
      call("ADD", pod_->path(), {{"cniVersion", "1.0.0"}, {"name", "meta"}, {"type", "vmlane-multus"}}, "c2");
  other.args = "IgnoreUnknown=true;K8S_POD_NAMESPACE=blue;K8S_POD_NAME=web;K8S_POD_UID=uid-1";
  const auto added = run_call(other);
  EXPECT_CNI_ERROR(added, Code::kIo);
  EXPECT_NE(added.message().find("Read-only file system"), std::string::npos) << added;
  const auto told = meta("STATUS", "", {{"cniVersion", "1.1.0"}});
  EXPECT_CNI_ERROR(told, Code::kNotAvailable);
  EXPECT_NE(told.message().find("Read-only file system"), std::string::npos) << told;
  EXPECT_EQ(link_names(""), std::vector<std::string>{"lo"});
  ASSERT_EQ(::umount(state.c_str()), 0);
  EXPECT_CNI_OK(meta_del());
  expect_clean();
}

TEST_F(MultusTest, F061WhateverTheLogTargetIsAndThePluginsPrint) {
  nad("one", network("vmlane-veth", "br1", "192.0.2.0/24"));
  nad("two", {{"cniVersion", "1.0.0"}, {"type", "noisy"}});
  script(
      "noisy",
      R"(echo noise >&2; [ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0","interfaces":[{"name":"x","sandbox":"y"}]}'; exit 0)");
  pod_object("one,two");
  for (const char* target :
       {"stdout", "/dev/stdout", "/proc/self/fd/1", "/dev/full", "/proc/nowhere/x.log"}) {
    SCOPED_TRACE(target);
    configure_node({{"objectPaths", {objects().string()}}, {"logFile", target}});
    const auto added = meta_add();
    ASSERT_CNI_OK(added);
    EXPECT_TRUE(added.document) << added;
    const auto refused = meta_add();
    EXPECT_CNI_ERROR(refused, Code::kConflict);
    for (const auto& outcome : {meta("CHECK", pod_->path(), {{"prevResult", {{"cniVersion", "1.0.0"}}}}),
                                meta("STATUS", "", {{"cniVersion", "1.1.0"}}),
                                meta("GC", "", {{"cniVersion", "1.1.0"}}), meta_del()}) {
      EXPECT_CNI_OK(outcome);
      EXPECT_TRUE(outcome.silent()) << outcome;
    }
  }
}

TEST_F(MultusTest, F105EditedObjectIsDeletedByWhatItWas) {
  nad("one", network("vmlane-veth", "br1", "192.0.2.0/24", {{"mtu", 1400}}));
  pod_object("one");
  ASSERT_CNI_OK(meta_add());
  nad("one", network("vmlane-veth", "br9", "203.0.113.0/24", {{"mtu", 1300}}));
  EXPECT_CNI_OK(meta_del());
  remove_bridges();
  expect_clean();
}

TEST_F(MultusTest, DefaultRouteMovesToTheAttachmentThatAsksForIt) {
  nad("first", network("vmlane-veth", "br1", "192.0.2.0/24", {{"isDefaultGateway", true}}));
  nad("second", network("bridge", "br2", "198.51.100.0/24", {{"isGateway", true}}));
  pod_object(Json::parse(R"([{"name":"second","default-route":["198.51.100.1"]}])"));
  const auto added = meta_add({{"clusterNetwork", "blue/first"}});
  ASSERT_CNI_OK(added);
  const Json routes = ip_json(pod_->path(), {"route", "show", "default"});
  ASSERT_EQ(routes.size(), 1U) << routes;
  EXPECT_EQ(routes[0]["dev"], "net1");
  EXPECT_EQ(routes[0]["gateway"], "198.51.100.1");
  EXPECT_FALSE(status()[0].contains("gateway"));
  EXPECT_EQ(status()[1]["gateway"], Json({"198.51.100.1"}));
  EXPECT_CNI_OK(meta_del());
  remove_bridges();
  expect_clean();
}

TEST_F(MultusTest, DefaultRouteWithoutAnAddressIsUndone) {
  nad("second", network("bridge", "br2", "198.51.100.0/24"));
  pod_object(Json::parse(R"([{"name":"second","default-route":["2001:db8::1"]}])"));
  const auto added = meta_add();
  EXPECT_CNI_ERROR(added, Code::kInvalidConfig);
  EXPECT_NE(added.message().find("net1 has no IPv6 address"), std::string::npos) << added;
  remove_bridges();
  expect_clean();
}

TEST_F(MultusTest, CheckAndGcReachThePlugins) {
  nad("one", network("bridge", "br1", "192.0.2.0/24"));
  pod_object("one");
  ASSERT_CNI_OK(meta_add());
  const Json prev = {{"prevResult", {{"cniVersion", "1.0.0"}}}};
  EXPECT_CNI_OK(meta("CHECK", pod_->path(), prev));
  ASSERT_TRUE(pod_->run({"ip", "addr", "flush", "dev", "net1"}).ok());
  EXPECT_FALSE(meta("CHECK", pod_->path(), prev).ok());

  EXPECT_CNI_OK(meta("GC", "", {{"cniVersion", "1.1.0"}}));  // no list: no statement
  EXPECT_EQ(reserved_addresses("one").size(), 1U);
  EXPECT_CNI_OK(meta("GC", "", {{"cniVersion", "1.1.0"}, {"cni.dev/valid-attachments", Json::array()}}));
  remove_bridges();
  expect_clean();
}

TEST_F(MultusTest, NodesOwnNamespaceIsRefused) {
  nad("one", network("bridge", "br1", "192.0.2.0/24"));
  pod_object("one");
  EXPECT_CNI_ERROR(meta("ADD", "/proc/self/ns/net"), Code::kInvalidNamespace);
  expect_clean();
}

TEST_F(MultusTest, BrokenConfigurationNamesObjectAndPlace) {
  write_object({{"apiVersion", "k8s.cni.cncf.io/v1"},
                {"kind", "NetworkAttachmentDefinition"},
                {"metadata", {{"namespace", "blue"}, {"name", "one"}}},
                {"spec", {{"config", "{\n  \"type\": \"../../bin/sh\"\n}"}}}},
               "nad-one");
  pod_object("one");
  const auto added = meta_add();
  EXPECT_CNI_ERROR(added, Code::kInvalidConfig);
  EXPECT_NE(added.message().find("NetworkAttachmentDefinition blue/one, spec.config at line 2, column 3"),
            std::string::npos)
      << added;
  expect_clean();
}

}  // namespace
}  // namespace vmlane::test
