// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "multus-adapter/meta_plugin.h"

namespace vmlane::multus {
namespace {

TEST(MultusMeta, SettingsAndDefaults) {
  const auto defaults = parse_settings(Json::object());
  ASSERT_TRUE(defaults);
  EXPECT_EQ(defaults->bin_dir, "/opt/cni/bin");
  EXPECT_EQ(defaults->multus_namespace, "kube-system");
  EXPECT_FALSE(defaults->namespace_isolation);
  const auto settings = parse_settings(
      Json::parse(R"({"clusterNetwork":"n/first","defaultNetworks":["a","b/c"],"binDir":"/x","confDir":"/y",
    "namespaceIsolation":true,"globalNamespaces":"default, shared","multusNamespace":"m","systemNamespaces":["s"]})"));
  ASSERT_TRUE(settings) << settings.error().text();
  EXPECT_EQ(settings->cluster_network, "n/first");
  EXPECT_EQ(settings->default_networks.size(), 2U);
  EXPECT_EQ(settings->global_namespaces, (std::vector<std::string>{"default", "shared"}));
  EXPECT_EQ(settings->system_namespaces, (std::vector<std::string>{"s"}));
}

TEST(MultusMeta, WrongSettingsAreNamed) {
  for (const char* config :
       {R"({"binDir":"bin"})", R"({"confDir":"/a:/b"})", R"({"namespaceIsolation":"yes"})",
        R"({"defaultNetworks":[1]})", R"({"clusterNetwork":5})", R"({"globalNamespaces":{}})"}) {
    const auto settings = parse_settings(Json::parse(config));
    ASSERT_FALSE(settings) << config;
    EXPECT_EQ(settings.error().code, Code::kInvalidConfig);
    EXPECT_NE(settings.error().message.find(Json::parse(config).begin().key()), std::string::npos)
        << settings.error().text();
  }
}

TEST(MultusMeta, FindsThePodOfTheArguments) {
  ObjectStore objects;
  ASSERT_TRUE(
      objects.add_text("apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: blue, uid: "
                       "u1}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: b}\n",
                       "pods.yaml"));
  const auto find = [&](const std::string& ns, const std::string& name, const std::string& uid) {
    return find_pod(objects, {{"K8S_POD_NAMESPACE", ns}, {"K8S_POD_NAME", name}, {"K8S_POD_UID", uid}});
  };
  ASSERT_TRUE(find("blue", "a", "u1"));
  EXPECT_EQ((*find("blue", "a", ""))->uid, "u1");
  // A uid that was not in the object is ours, and says nothing.
  EXPECT_TRUE(find("default", "b", "whatever"));

  const auto older = find("blue", "a", "u2");
  ASSERT_FALSE(older);
  EXPECT_EQ(older.error().code, Code::kTryAgain);
  EXPECT_NE(older.error().details.find("pods.yaml"), std::string::npos);
  EXPECT_EQ(find("blue", "z", "").error().code, Code::kTryAgain);
  EXPECT_EQ(find("", "a", "").error().code, Code::kBadEnvironment);
}

TEST(MultusMeta, PassesOnArgumentsOfItsCaller) {
  EXPECT_EQ(
      extra_args(
          {{"IgnoreUnknown", "1"}, {"K8S_POD_NAME", "a"}, {"K8S_POD_UID", "u"}, {"A", "1"}, {"B", "2"}}),
      "A=1;B=2");
  EXPECT_EQ(extra_args({}), "");
}

}  // namespace
}  // namespace vmlane::multus
