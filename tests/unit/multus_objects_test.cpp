// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "manifests/yaml.h"
#include "multus-adapter/objects.h"
#include "tests/support/host.h"

namespace vmlane::multus {
namespace {

ObjectStore store_of(const std::string& text) {
  ObjectStore store;
  const auto added = store.add_text(text, "x.yaml");
  EXPECT_TRUE(added) << added.error().text();
  return store;
}

Error object_error(const std::string& text) {
  ObjectStore store;
  const auto added = store.add_text(text, "x.yaml");
  EXPECT_FALSE(added) << text;
  return added ? Error{} : added.error();
}

void expect_in(const Error& error, const std::vector<std::string>& parts) {
  for (const std::string& part : parts)
    EXPECT_NE(error.text().find(part), std::string::npos) << part << " in: " << error.text();
}

const char* const kPodYaml = R"(
apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: blue
  labels: {app: web, "enabled": "yes"}
  annotations:
    k8s.v1.cni.cncf.io/networks: net-a
spec:
  nodeName: n1
  containers:
  - name: main
    image: busybox
    command: ["sh", "-c"]
    args: ["sleep 1"]
)";

TEST(MultusObjects, PodFromYaml) {
  const ObjectStore store = store_of(kPodYaml);
  ASSERT_EQ(store.pods().size(), 1U);
  const Pod& pod = store.pods()[0];
  EXPECT_EQ(pod.id(), "blue/web");
  EXPECT_EQ(pod.labels.at("enabled"), "yes");
  EXPECT_EQ(pod.annotations.at("k8s.v1.cni.cncf.io/networks"), "net-a");
  EXPECT_EQ(pod.node_name, "n1");
  ASSERT_EQ(pod.containers.size(), 1U);
  EXPECT_EQ(pod.containers[0].command, (std::vector<std::string>{"sh", "-c"}));
  EXPECT_EQ(store.find_pod("blue", "web"), &pod);
  EXPECT_EQ(store.find_pod("default", "web"), nullptr);
}

TEST(MultusObjects, MissingUidIsDerivedAndStable) {
  const std::string uid = store_of(kPodYaml).pods()[0].uid;
  EXPECT_EQ(uid, store_of(kPodYaml).pods()[0].uid);
  EXPECT_EQ(uid.size(), 36U);
  EXPECT_EQ(uid[8], '-');
  EXPECT_NE(uid, store_of("apiVersion: v1\nkind: Pod\nmetadata: {name: web}").pods()[0].uid);
}

TEST(MultusObjects, JsonAndYamlGiveTheSame) {
  const char* json = R"({"apiVersion":"k8s.cni.cncf.io/v1","kind":"NetworkAttachmentDefinition",
    "metadata":{"name":"a","annotations":{"k8s.v1.cni.cncf.io/resourceName":"vmlane.io/tap"}},"spec":{"config":"{\"type\":\"vmlane-tap\"}"}})";
  const char* yaml = R"(
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata:
  name: a
  annotations: {k8s.v1.cni.cncf.io/resourceName: vmlane.io/tap}
spec:
  config: '{"type":"vmlane-tap"}'
)";
  for (const char* text : {json, yaml}) {
    const ObjectStore store = store_of(text);
    ASSERT_EQ(store.networks().size(), 1U);
    EXPECT_EQ(store.networks()[0].id(), "default/a");
    EXPECT_EQ(store.networks()[0].config, R"({"type":"vmlane-tap"})");
    EXPECT_EQ(store.networks()[0].resource_name, "vmlane.io/tap");
  }
}

TEST(MultusObjects, ManyDocumentsListsAndForeignKinds) {
  const ObjectStore store = store_of(R"(
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
---
# nothing here
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata: {name: p1}
- apiVersion: v1
  kind: Service
  metadata: {name: s}
---
apiVersion: v1
kind: PodList
items:
- metadata: {name: p2}
)");
  EXPECT_EQ(store.pods().size(), 2U);
  EXPECT_EQ(store.ignored(), 2U);
}

TEST(MultusObjects, ErrorsNameFileDocumentObjectAndKey) {
  expect_in(object_error("apiVersion: v1\nkind: Pod\nmetadata: {name: ok}\n---\napiVersion: v1\nkind: "
                         "Pod\nmetadata:\n  name: web\n  namespace: blue\n  labels: {on: yes}\n"),
            {"x.yaml, document 2 (line 5)", "Pod blue/web", "metadata.labels.on", "quotes"});
  expect_in(object_error("apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  annotations: {port: 80}\n"),
            {"metadata.annotations.port", "80"});
  expect_in(object_error("apiVersion: v1\nkind: Pod\nmetadata: {name: Web}\n"), {"metadata.name", "Web"});
  expect_in(object_error("apiVersion: v1\nkind: Pod\nmetadata: {name: ../x}\n"), {"metadata.name"});
  expect_in(object_error("apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: a.b}\n"),
            {"metadata.namespace"});
  expect_in(object_error("apiVersion: v1\nkind: Pod\nmetadata: {name: a, uid: ../../etc}\n"),
            {"metadata.uid"});
  expect_in(object_error("apiVersion: v1\nkind: Pod\n"), {"metadata"});
  expect_in(object_error("apiVersion: v1\nmetadata: {name: a}\n"), {"default/a", "no kind"});
  expect_in(object_error("just text"), {"x.yaml", "no Kubernetes object"});
  expect_in(object_error("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: 1}]}\n"),
            {"spec.containers[0].name", "1"});
  expect_in(
      object_error("apiVersion: k8s.cni.cncf.io/v1\nkind: NetworkAttachmentDefinition\nmetadata: {name: "
                   "a}\nspec: {config: {type: x}}\n"),
      {"default/a", "spec.config", "string"});
}

TEST(MultusObjects, ObjectGivenTwiceNamesBothPlaces) {
  ObjectStore store;
  ASSERT_TRUE(store.add_text("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n", "one.yaml"));
  const auto again = store.add_text("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n", "two.yaml");
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Code::kConflict);
  expect_in(again.error(), {"default/a", "one.yaml", "two.yaml"});
}

TEST(MultusObjects, DirectoriesGiveTheirObjectFilesInOrder) {
  const test::TemporaryDirectory directory;
  const auto pod = [](const std::string& name) {
    return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "}\n";
  };
  test::spit(directory.path() / "b.yaml", pod("b"));
  test::spit(directory.path() / "a.json", R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}})");
  test::spit(directory.path() / "c.yml", pod("c"));
  test::spit(directory.path() / "notes.txt", "not an object");
  test::spit(directory.path() / ".hidden.yaml", "not an object");
  const auto store = ObjectStore::load({directory.path()});
  ASSERT_TRUE(store) << store.error().text();
  ASSERT_EQ(store->pods().size(), 3U);
  EXPECT_EQ(store->pods()[0].name, "a");
  EXPECT_EQ(store->pods()[2].name, "c");
  EXPECT_EQ(store->searched(), directory.path().string());
}

TEST(MultusObjects, UnreadableSourcesAreErrorsNotHangs) {
  const test::TemporaryDirectory directory;
  const auto fifo = directory.path() / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  for (const auto& path : {fifo, directory.path() / "missing"}) {
    const auto store = ObjectStore::load({path});
    ASSERT_FALSE(store) << path;
    EXPECT_EQ(store.error().code, Code::kIo);
    expect_in(store.error(), {path.string()});
  }
  test::spit(directory.path() / "empty.yaml", "");
  EXPECT_TRUE(ObjectStore::load({directory.path() / "empty.yaml"}));
}

// YAML itself.

Json yaml(const std::string& text) {
  const auto documents = parse_yaml(text, "t");
  EXPECT_TRUE(documents) << (documents ? "" : documents.error().text());
  return documents && !documents->empty() ? documents->front().value : Json();
}

std::string yaml_error(const std::string& text) {
  const auto documents = parse_yaml(text, "t");
  EXPECT_FALSE(documents) << text.substr(0, 80);
  return documents ? "" : documents.error().text();
}

TEST(MultusYaml, WhatBeginsNoValueIsRefused) {
  for (const char* text : {",", "}", "]", "a: b\n}", "- a\n]", "--- a\n---\n,"})
    EXPECT_NE(yaml_error(text).find("line "), std::string::npos) << text;
  EXPECT_EQ(yaml("---\n---\na\n...\n"), Json("a"));
}

TEST(MultusYaml, PlainScalarsAreWhatKubernetesTakesThemFor) {
  EXPECT_EQ(yaml("[yes, 'yes', on, no, true, n]"), Json::parse(R"([true, "yes", true, false, true, false])"));
  EXPECT_EQ(yaml("[1, '1', 0x10, 010, 0, -5, 1.5, 1e3, 512Mi]"),
            Json::parse(R"([1, "1", 16, 8, 0, -5, 1.5, 1000.0, "512Mi"])"));
  EXPECT_EQ(yaml("[~, null, '', 02:00:00:00:00:01, 192.0.2.1, 1.2.3]"),
            Json::parse(R"([null, null, "", "02:00:00:00:00:01", "192.0.2.1", "1.2.3"])"));
  EXPECT_EQ(yaml("a: |\n  {\"x\": 1}\n"), Json::parse(R"({"a": "{\"x\": 1}\n"})"));
  EXPECT_EQ(yaml("18446744073709551615"), Json(18446744073709551615ULL));
  EXPECT_EQ(yaml("!!str 12"), Json("12"));
}

TEST(MultusYaml, AliasesAreExpandedWithinBounds) {
  EXPECT_EQ(yaml("a: &x [1, 2]\nb: *x\n"), Json::parse(R"({"a": [1, 2], "b": [1, 2]})"));
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; i++) {
    const std::string previous = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int j = 0; j < 10; j++) bomb += (j == 0 ? "" : ", ") + previous;
    bomb += "]\n";
  }
  EXPECT_NE(yaml_error(bomb).find("aliases"), std::string::npos);
  EXPECT_NE(yaml_error("a: &x [*x]").find("deeper than 64"), std::string::npos);
}

TEST(MultusYaml, RefusesWhatWouldBeSilentlyWrong) {
  EXPECT_NE(yaml_error("a: 1\na: 2\n").find("\"a\" is given twice at line 2, column 1"), std::string::npos);
  EXPECT_NE(yaml_error("<<: {a: 1}").find("merge keys"), std::string::npos);
  EXPECT_NE(yaml_error("a: !x 1").find("tag"), std::string::npos);
  EXPECT_NE(yaml_error("a: .inf").find("no number"), std::string::npos);
  EXPECT_NE(yaml_error("a: [1,\nb: }").find("line"), std::string::npos);
  EXPECT_NE(yaml_error("? [a]\n: b").find("key"), std::string::npos);
  EXPECT_NE(yaml_error(std::string(10'000, '[')).find('t'), std::string::npos);
  EXPECT_NE(yaml_error(std::string(100, '[') + std::string(100, ']')).find("deeper than 64"),
            std::string::npos);
}

}  // namespace
}  // namespace vmlane::multus
