// SPDX-License-Identifier: Apache-2.0
// Attachments and pods: which belongs to which, and what policy learns from it.
#include <gtest/gtest.h>

#include <map>

#include "agent/join.h"
#include "policy/reader.h"

namespace vmlane::agent {
namespace {

class JoinTest : public ::testing::Test {
 protected:
  void add_pod(const std::string& name, const Json& annotations = Json::object(),
               const std::string& uid = {}) {
    Json pod = {{"apiVersion", "v1"},
                {"kind", "Pod"},
                {"metadata", {{"namespace", "blue"}, {"name", name}, {"annotations", annotations}}}};
    if (!uid.empty()) pod["metadata"]["uid"] = uid;
    add_object(pod);
  }
  void add_object(const Json& object) {
    cluster_.apply({.gone = {}, .come = {cluster_object(object, "test")}});
  }
  AttachmentRecord& record(const std::string& pod, const std::string& ifname, const std::string& nad = {}) {
    AttachmentRecord record;
    record.state = RecordState::kDone;
    record.key = {"net", pod, ifname};
    record.pod = {.ns = "blue", .name = pod, .uid = {}, .vm = {}, .migration = {}};
    record.nad = nad;
    return records_[record.key.id()] = record;
  }
  Attachment joined(const std::string& pod, const std::string& ifname) {
    return join(records_.at(AttachmentKey{"net", pod, ifname}.id()), cluster_);
  }
  std::string network(const std::string& pod, const std::string& ifname) {
    return joined(pod, ifname).network;
  }

  Cluster cluster_{"n1"};
  std::map<std::string, AttachmentRecord> records_;
};

constexpr const char* kNetworks = "k8s.v1.cni.cncf.io/networks";
constexpr const char* kStatus = "k8s.v1.cni.cncf.io/network-status";

TEST_F(JoinTest, TheFirstInterfaceIsTheClustersUnlessThePodAskedForItByName) {
  add_pod("a");
  add_pod("b", {{kNetworks, "dmz@eth0"}});
  record("a", "eth0", "kube-system/cluster");
  record("b", "eth0");
  EXPECT_EQ(network("a", "eth0"), "default");
  EXPECT_EQ(network("b", "eth0"), "blue/dmz");
}

TEST_F(JoinTest, NetworkStatusSaysWhichIsTheDefault) {
  add_pod(
      "a",
      {{kStatus,
        R"([{"name": "x", "interface": "ovn0", "default": true}, {"name": "red/y", "interface": "eth0"}])"}});
  record("a", "ovn0", "red/z");
  record("a", "eth0");
  EXPECT_EQ(network("a", "ovn0"), "default");
  EXPECT_EQ(network("a", "eth0"), "red/y");
}

TEST_F(JoinTest, WhatThePluginRecordedCountsBeforeAnAnnotation) {
  add_pod("a", {{kNetworks, "green/other@net1, dmz"},
                {kStatus, R"([{"name": "red/claimed", "interface": "net1"}])"}});
  record("a", "net1", "blue/real");
  record("a", "net2");
  EXPECT_EQ(network("a", "net1"), "blue/real");
  EXPECT_EQ(network("a", "net2"), "blue/dmz") << "the second of the annotation";
}

TEST_F(JoinTest, WhatNobodySaysStaysUnknown) {
  add_pod("a", {{kNetworks, "{broken"}, {kStatus, "[7, {\"interface\": 7}]"}});
  record("a", "net1");
  record("stranger", "eth0");
  record("", "eth1");
  EXPECT_EQ(network("a", "net1"), "");
  EXPECT_EQ(joined("a", "net1").pod, "blue/a");
  EXPECT_NE(joined("a", "net1").missing.find("net1"), std::string::npos);
  EXPECT_NE(joined("stranger", "eth0").missing.find("blue/stranger"), std::string::npos);
  EXPECT_NE(joined("", "eth1").missing, "");
}

TEST_F(JoinTest, APodOfAnotherUidIsAnotherPod) {
  add_pod("a", Json::object(), "uid-new");
  add_pod("b");
  record("a", "eth0").pod.uid = "uid-old";
  record("b", "eth0").pod.uid = "uid-of-the-runtime";
  EXPECT_EQ(joined("a", "eth0").pod, "");
  EXPECT_EQ(joined("b", "eth0").pod, "blue/b") << "its object gives no uid";
}

TEST_F(JoinTest, PolicyLearnsAddressesInterfacesAndNodes) {
  add_pod("a", {{kStatus, R"([{"name": "blue/dmz", "interface": "net1", "ips": ["198.51.100.1"]}])"}});
  add_object({{"apiVersion", "v1"},
              {"kind", "Node"},
              {"metadata", {{"name", "n1"}, {"labels", {{"zone", "z"}}}}},
              {"status", {{"addresses", {{{"type", "InternalIP"}, {"address", "203.0.113.1"}}}}}}});
  const auto with_address = [](AttachmentRecord& record, const char* address) {
    record.result = {{"ips", {{{"address", address}}}}};
  };
  with_address(record("a", "eth0"), "192.0.2.5/24");
  with_address(record("a", "net1", "blue/dmz"), "198.51.100.2/24");
  with_address(record("a", "net2", "blue/lab"), "2001:db8::5/64");
  AttachmentRecord& unfinished = record("a", "net3", "blue/late");
  with_address(unfinished, "198.51.100.9/24");
  unfinished.state = RecordState::kIntent;

  record("a", "net4", "blue/l2");
  std::vector<Attachment> attachments;
  for (const auto& [id, record] : records_) {
    attachments.push_back(join(record, cluster_));
    if (record.key.ifname == "net4") attachments.back().learned = {*IpAddress::parse("198.51.100.77")};
  }
  std::vector<const Attachment*> of_pod;
  for (const Attachment& attachment : attachments) of_pod.push_back(&attachment);
  const ObjectPointer completed_a = completed_pod(cluster_.objects().at("Pod blue/a")[0], of_pod, "n1");
  const ObjectPointer completed_n1 =
      completed_node(cluster_.objects().at("Node n1")[0], "n1",
                     {*IpAddress::parse("203.0.113.1"), *IpAddress::parse("192.0.2.1")});
  policy::Objects objects;
  for (const ObjectPointer& object : {completed_a, completed_n1})
    policy::add_object(objects, object->json(), object->place);
  EXPECT_TRUE(objects.problems.empty()) << objects.problems[0].text();
  const policy::Pod& pod = objects.pods.at("blue/a");
  EXPECT_EQ(pod.node, "n1");
  std::map<std::string, std::string> addresses;
  for (const policy::PodInterface& interface : pod.interfaces) {
    for (const IpAddress& address : interface.addresses)
      addresses[interface.network] += address.to_string() + " ";
  }
  EXPECT_EQ(addresses, (std::map<std::string, std::string>{{"default", "192.0.2.5 "},
                                                           {"blue/dmz", "198.51.100.1 198.51.100.2 "},
                                                           {"blue/l2", "198.51.100.77 "},
                                                           {"blue/lab", "2001:db8::5 "}}));
  const policy::Node& node = objects.nodes.at("n1");
  EXPECT_EQ(node.labels.at("zone"), "z");
  EXPECT_EQ(node.addresses.size(), 2U);
}

TEST_F(JoinTest, ANodeWithoutAnObjectGetsOne) {
  const ObjectPointer node = completed_node(nullptr, "n7", {*IpAddress::parse("203.0.113.1")});
  EXPECT_EQ(node->key, "Node n7");
  EXPECT_EQ(node->json()["status"]["addresses"][0]["address"], "203.0.113.1");
}

TEST_F(JoinTest, OfTwoObjectsOfOneNameTheFirstFilesCountsWhicheverCameFirst) {
  const auto pod = [](const std::string& uid, const std::string& file) {
    return cluster_object({{"apiVersion", "v1"},
                           {"kind", "Pod"},
                           {"metadata", {{"namespace", "blue"}, {"name", "twice"}, {"uid", uid}}}},
                          file, {.directory = 0, .file = file, .index = 0});
  };
  const auto late = pod("uid-b", "b.json");
  const auto early = pod("uid-a", "a.json");
  EXPECT_EQ(cluster_.apply({.gone = {}, .come = {late}}), std::set<std::string>{"Pod blue/twice"});
  EXPECT_EQ(cluster_.pods().at("blue/twice").uid, "uid-b");
  cluster_.apply({.gone = {}, .come = {early}});
  EXPECT_EQ(cluster_.pods().at("blue/twice").uid, "uid-a");
  ASSERT_EQ(cluster_.problems().size(), 1U);
  EXPECT_NE(cluster_.problems()[0].text().find("b.json: Pod blue/twice is given twice"), std::string::npos);
  cluster_.apply({.gone = {early}, .come = {}});
  EXPECT_EQ(cluster_.pods().at("blue/twice").uid, "uid-b");
  EXPECT_TRUE(cluster_.problems().empty());
  cluster_.apply({.gone = {late}, .come = {}});
  EXPECT_TRUE(cluster_.pods().empty());
  EXPECT_TRUE(cluster_.objects().empty());
}

}  // namespace
}  // namespace vmlane::agent
