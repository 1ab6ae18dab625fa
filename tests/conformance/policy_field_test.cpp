// SPDX-License-Identifier: Apache-2.0
// Faults of other policy engines that their users met, by the numbers of the project's list: each recipe that
// needs objects alone. Every connection is asked of tables and oracle.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <tuple>

#include "policy/oracle.h"
#include "policy/reader.h"
#include "policy/store.h"
#include "tests/support/policy_world.h"

namespace vmlane::policy {
namespace {

Objects read(const std::string& text) {
  Objects objects;
  const auto added = add_text(objects, text, "field.yaml");
  EXPECT_TRUE(added) << added.error().text();
  return objects;
}

bool allows(const Objects& objects, const std::string& from, const std::string& to, int port,
            const std::string& protocol = "TCP", const std::string& network = "default") {
  const auto probe = parse_probe(
      {{"from", from}, {"to", to}, {"port", port}, {"protocol", protocol}, {"network", network}}, "probe");
  EXPECT_TRUE(probe) << probe.error().text();
  const auto found = compile(objects).ask(*probe);
  const auto expected = ask_oracle(objects, *probe);
  EXPECT_TRUE(found && expected);
  EXPECT_EQ(*found, *expected) << from << " to " << to;
  return found->allowed();
}

// `more` are further keys: ", spec: {...}".
std::string pod(const std::string& name, const std::string& labels, const std::string& ip,
                const std::string& more = {}, const std::string& ns = "blue",
                const std::string& phase = "Running") {
  return "---\n{apiVersion: v1, kind: Pod, metadata: {name: " + name + ", namespace: " + ns + ", labels: {" +
         labels + "}}, status: {phase: " + phase + (ip.empty() ? "" : ", podIP: " + ip) + "}" + more + "}\n";
}

std::string policy(const std::string& name, const std::string& spec, const std::string& ns = "blue") {
  return "---\n{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: " + name +
         ", namespace: " + ns + "}, spec: " + spec + "}\n";
}

std::string space(const std::string& name, const std::string& labels) {
  return "---\n{apiVersion: v1, kind: Namespace, metadata: {name: " + name + ", labels: {" + labels + "}}}\n";
}

TEST(PolicyField, F005_PeerThatMatchesNobodyLetsNobodyIn) {
  const std::string pods = pod("web", "app: web", "192.0.2.10") + pod("other", "app: other", "192.0.2.11") +
                           pod("silent", "role: silent", "");
  const std::string client = pod("client", "role: client", "192.0.2.12");
  const auto with = [&](const std::string& from) {
    return policy("p",
                  "{podSelector: {matchLabels: {app: web}}, ingress: [{" + from + "ports: [{port: 80}]}]}");
  };
  const std::string by_role = with("from: [{podSelector: {matchLabels: {role: client}}}], ");
  EXPECT_FALSE(allows(read(pods + by_role), "blue/other", "blue/web", 80));
  EXPECT_FALSE(allows(read(pods + client + by_role), "blue/other", "blue/web", 80));
  EXPECT_TRUE(allows(read(pods + client + by_role), "blue/client", "blue/web", 80));
  for (const char* nobody : {"from: [{namespaceSelector: {matchLabels: {team: none}}}], ",
                             "from: [{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.0/24]}}], ",
                             "from: [{podSelector: {matchLabels: {role: silent}}}], "})
    EXPECT_FALSE(allows(read(pods + with(nobody)), "blue/other", "blue/web", 80)) << nobody;
  EXPECT_TRUE(allows(read(pods + with("from: [], ")), "203.0.113.5", "blue/web", 80));
  EXPECT_TRUE(allows(read(pods + with("from: [{podSelector: {}}], ")), "blue/other", "blue/web", 80));
  EXPECT_FALSE(allows(read(pods + with("from: [{podSelector: {}}], ")), "203.0.113.5", "blue/web", 80));
}

TEST(PolicyField, F011_ExceptTakesAwayFromItsOwnBlockAlone) {
  const std::string pods = pod("web", "app: web", "192.0.2.10") + pod("nine", "role: nine", "198.51.100.9");
  const std::string wide = "{KEY: [{ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.8/29]}}]}";
  const std::string narrow = "{KEY: [{ipBlock: {cidr: 198.51.100.9/32}}], ports: [{port: 443}]}";
  const std::string by_label = "{KEY: [{podSelector: {matchLabels: {role: nine}}}], ports: [{port: 443}]}";
  for (const bool egress : {false, true}) {
    const auto spec = [&](std::string rules) {
      for (auto at = rules.find("KEY"); at != std::string::npos; at = rules.find("KEY"))
        rules.replace(at, 3, egress ? "to" : "from");
      return std::string("{podSelector: {matchLabels: {app: web}}, policyTypes: [") +
             (egress ? "Egress], egress: [" : "Ingress], ingress: [") + rules + "]}";
    };
    for (const std::string& policies :
         {policy("a", spec(wide)) + policy("b", spec(narrow)),
          policy("b", spec(wide)) + policy("a", spec(narrow)), policy("a", spec(wide + ", " + narrow)),
          policy("a", spec(narrow + ", " + wide)), policy("a", spec(wide)) + policy("b", spec(by_label))}) {
      const Objects objects = read(pods + policies);
      const auto passes = [&](const std::string& peer, int port) {
        return egress ? allows(objects, "blue/web", peer, port) : allows(objects, peer, "blue/web", port);
      };
      EXPECT_TRUE(passes("198.51.100.9", 443)) << policies;
      EXPECT_FALSE(passes("198.51.100.9", 80)) << policies;
      EXPECT_FALSE(passes("198.51.100.10", 443)) << policies;
      EXPECT_TRUE(passes("198.51.100.20", 80)) << policies;
    }
  }
}

TEST(PolicyField, F012_OneBlockInTwoRulesGivesWhatEitherGives) {
  std::vector<std::string> rules = {
      "{to: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{protocol: UDP, port: 53}]}",
      "{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [198.51.100.0/24]}}]}"};
  std::mt19937 random(1);
  for (int round = 0; round < 50; round++) {
    if (round == 25) rules.emplace_back("{to: [{ipBlock: {cidr: 198.51.100.0/24}}]}");
    std::ranges::shuffle(rules, random);
    std::string all;
    for (const std::string& rule : rules) all += (all.empty() ? "" : ", ") + rule;
    const Objects objects =
        read(pod("app", "app: app", "192.0.2.10") +
             policy("p", "{podSelector: {}, policyTypes: [Egress], egress: [" + all + "]}"));
    EXPECT_TRUE(allows(objects, "blue/app", "203.0.113.5", 443)) << all;
    EXPECT_TRUE(allows(objects, "blue/app", "203.0.113.5", 53, "UDP")) << all;
    EXPECT_EQ(allows(objects, "blue/app", "198.51.100.5", 443), round >= 25) << all;
    EXPECT_TRUE(allows(objects, "blue/app", "198.51.100.5", 53, "UDP")) << all;
  }
}

TEST(PolicyField, F013_NameOfAPortIsEachPodsOwn) {
  const auto serving = [](const std::string& name, const std::string& ip, const std::string& port) {
    return pod(name, "app: web", ip,
               port.empty() ? "" : ", spec: {containers: [{name: c, ports: [" + port + "]}]}");
  };
  const std::string pods = serving("a", "192.0.2.10", "{name: m, containerPort: 9100}") +
                           serving("b", "192.0.2.11", "{name: m, containerPort: 9200}") +
                           serving("c", "192.0.2.12", "") +
                           serving("d", "192.0.2.13", "{name: m, containerPort: 9300, protocol: UDP}") +
                           pod("e", "app: e", "192.0.2.14");
  for (const std::string& one :
       {policy("in", "{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: m}]}]}"),
        policy("out",
               "{podSelector: {matchLabels: {app: e}}, policyTypes: [Egress], egress: [{ports: [{port: "
               "m}]}]}")}) {
    const Objects objects = read(pods + one);
    const std::vector<std::tuple<const char*, int, bool>> table = {
        {"blue/a", 9100, true},  {"blue/a", 9200, false}, {"blue/b", 9200, true},
        {"blue/b", 9100, false}, {"blue/c", 9100, false}, {"blue/d", 9300, false}};
    for (const auto& [to, port, expected] : table)
      EXPECT_EQ(allows(objects, "blue/e", to, port), expected) << to << ":" << port << one;
  }
}

TEST(PolicyField, F015_PodThatHasEndedOwnsNoAddress) {
  const std::string job = pod("job", "app: job", "192.0.2.30", "", "blue", "Succeeded");
  const std::string web = pod("web", "app: web", "192.0.2.30");
  const std::string others = pod("client", "app: client", "192.0.2.31") + pod("db", "app: db", "192.0.2.32");
  const std::string policies = policy("no-job", "{podSelector: {matchLabels: {app: job}}}") +
                               policy("db",
                                      "{podSelector: {matchLabels: {app: db}}, ingress: [{from: "
                                      "[{podSelector: {matchLabels: {app: job}}}]}]}");
  for (const std::string& order : {job + web, web + job, web}) {
    const Objects objects = read(order + others + policies);
    EXPECT_TRUE(allows(objects, "blue/client", "blue/web", 80));
    EXPECT_FALSE(allows(objects, "blue/web", "blue/db", 80)) << "it is not the job";
  }
  // A late delete takes nothing from the new owner.
  Store store;
  store.put(read(job + web + others + policies));
  store.publish();
  store.apply({.api_version = "v1", .kind = "Pod", .ns = "blue", .name = "job", .object = {}, .source = {}});
  store.publish();
  const auto probe = parse_probe({{"from", "blue/client"}, {"to", "blue/web"}, {"port", 80}}, "probe");
  EXPECT_TRUE(store.ask(*probe)->allowed());
  EXPECT_TRUE(store.problems().empty());
}

TEST(PolicyField, F041_EachRuleIsItsOwnPeersAndPorts) {
  const std::string pods = pod("web", "app: web", "192.0.2.10") + pod("a1", "a: '1'", "192.0.2.11") +
                           pod("a2", "a: '2'", "192.0.2.12") + pod("be", "app: be", "192.0.2.13");
  const Objects one = read(
      pods +
      policy("p",
             "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {a: "
             "'1'}}}], ports: [{port: 443}]}, {from: [{podSelector: {matchLabels: {a: '2'}}}], ports: "
             "[{port: 80}]}]}"));
  EXPECT_TRUE(allows(one, "blue/a1", "blue/web", 443));
  EXPECT_FALSE(allows(one, "blue/a1", "blue/web", 80));
  EXPECT_TRUE(allows(one, "blue/a2", "blue/web", 80));
  EXPECT_FALSE(allows(one, "blue/a2", "blue/web", 443));
  const Objects two = read(
      pods +
      policy("p1",
             "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: "
             "be}}}], ports: [{port: 8000}]}]}") +
      policy("p2", "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{namespaceSelector: {}}]}]}"));
  for (const int port : {8000, 9000}) EXPECT_TRUE(allows(two, "blue/a1", "blue/web", port));
}

TEST(PolicyField, F042_SelectorsOfOneItemAreBothAndItemsAreEither) {
  const std::string pods = space("red", "team: r") + space("blue", "team: b") +
                           pod("px", "role: c", "192.0.2.20", "", "red") +
                           pod("py", "role: z", "192.0.2.21", "", "red") +
                           pod("web", "app: web", "192.0.2.10") + pod("w", "role: c", "192.0.2.11");
  struct Row {
    const char* from;
    bool x, y, w;
  };
  for (const Row& row :
       {Row{"{namespaceSelector: {matchLabels: {team: r}}, podSelector: {matchLabels: {role: c}}}", true,
            false, false},
        Row{"{namespaceSelector: {matchLabels: {team: r}}}, {podSelector: {matchLabels: {role: c}}}", true,
            true, true},
        Row{"{namespaceSelector: {}, podSelector: {matchLabels: {role: c}}}", true, false, true},
        Row{"{podSelector: {}}", false, false, true},
        Row{"{namespaceSelector: {}, podSelector: {}}", true, true, true}}) {
    const Objects objects =
        read(pods + policy("p", "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [" +
                                    std::string(row.from) + "]}]}"));
    EXPECT_EQ(allows(objects, "red/px", "blue/web", 80), row.x) << row.from;
    EXPECT_EQ(allows(objects, "red/py", "blue/web", 80), row.y) << row.from;
    EXPECT_EQ(allows(objects, "blue/w", "blue/web", 80), row.w) << row.from;
  }
}

TEST(PolicyField, F043_ChangesOfLabelsNamespacesAddressesAndPhasesAreFollowed) {
  for (unsigned seed = 0; seed < 5; seed++) {
    test::PolicyWorld world(seed);
    std::map<std::string, Json> objects;
    const auto name = [](const Json& object) {
      return object["kind"].get<std::string>() + " " + object["metadata"].value("namespace", "") + "/" +
             object["metadata"].value("name", "");
    };
    Store store;
    for (const Json& object : world.objects()) {
      objects[name(object)] = object;
      store.apply(Change::of(object, "field"));
    }
    std::mt19937 random(seed);
    for (int edit = 0; edit < 100; edit++) {
      const std::string ns(1, static_cast<char>('x' + random() % 3));
      const std::string of(1, static_cast<char>('a' + random() % 3));
      const Json changed = edit % 3 == 0   ? world.random_policy()
                           : edit % 3 == 1 ? world.random_pod(ns, of)
                                           : world.random_namespace(ns);
      objects[name(changed)] = changed;
      store.apply(Change::of(changed, "field"));
      store.publish();
      if (edit % 10 != 9) continue;
      Objects now;
      for (const auto& [key, object] : objects) add_object(now, object, "field");
      const Store fresh = compile(now);
      for (int i = 0; i < 200; i++) {
        const Probe probe = world.quick_probe();
        ASSERT_EQ(*store.ask(probe), *fresh.ask(probe)) << "seed " << seed << ", edit " << edit;
      }
    }
  }
}

TEST(PolicyField, F046_PolicyIsAboutTheNetworksThatItNames) {
  const auto on_networks = [](const std::string& name, const std::string& ns, const std::string& last) {
    return "---\n{apiVersion: v1, kind: Pod, metadata: {name: " + name + ", namespace: " + ns +
           ", annotations: {k8s.v1.cni.cncf.io/network-status: '[{\"name\": \"default/n1\", \"ips\": "
           "[\"198.51.100." +
           last + "\"]}, {\"name\": \"blue/n1\", \"ips\": [\"203.0.113." + last +
           "\"]}]'}}, status: {podIP: 192.0.2." + last + "}}\n";
  };
  const std::string pods = on_networks("web", "blue", "10") + on_networks("peer", "red", "11");
  const auto about = [](const std::string& networks) {
    return "---\n{apiVersion: k8s.cni.cncf.io/v1beta1, kind: MultiNetworkPolicy, metadata: {name: m, "
           "namespace: blue, "
           "annotations: {k8s.v1.cni.cncf.io/policy-for: '" +
           networks + "'}}, spec: {podSelector: {}}}\n";
  };
  struct Row {
    const char* networks;
    bool own, other;
  };
  for (const Row& row :
       {Row{"n1", false, true}, Row{"default/n1", true, false}, Row{" n1 , default/n1 ", false, false}}) {
    const Objects objects = read(pods + about(row.networks));
    EXPECT_EQ(allows(objects, "red/peer", "blue/web", 80, "TCP", "blue/n1"), row.own) << row.networks;
    EXPECT_EQ(allows(objects, "red/peer", "blue/web", 80, "TCP", "default/n1"), row.other) << row.networks;
    EXPECT_TRUE(allows(objects, "red/peer", "blue/web", 80)) << row.networks;
  }
}

TEST(PolicyField, F048_PolicyTypesAreWhatTheyAreSaidToBeOrFollowFromTheRules) {
  const std::string pods = pod("web", "app: web", "192.0.2.10") + pod("other", "app: other", "192.0.2.11");
  struct Row {
    const char* spec;
    bool in, out;
  };
  for (const Row& row :
       {Row{"{podSelector: {matchLabels: {app: web}}}", false, true},
        Row{"{podSelector: {matchLabels: {app: web}}, egress: [{}]}", false, true},
        Row{"{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], ingress: [{}]}", true, false},
        Row{"{podSelector: {matchLabels: {app: web}}, egress: []}", false, true},
        Row{"{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{}]}", true, true}}) {
    const Objects objects = read(pods + policy("p", row.spec));
    EXPECT_EQ(allows(objects, "blue/other", "blue/web", 80), row.in) << row.spec;
    EXPECT_EQ(allows(objects, "blue/web", "blue/other", 80), row.out) << row.spec;
  }
}

// p0 to p4 by what a selector means, as the policy's pods, as peers, and as labels of namespaces.
TEST(PolicyField, F075_CornersOfSelectors) {
  const std::vector<std::string> labels = {"", "t: a", "t: b", "t: c, x: '1'", "t: ''"};
  struct Row {
    const char* selector;
    std::set<int> means;
  };
  const std::vector<Row> rows = {
      {"{matchExpressions: [{key: t, operator: In, values: [a, b]}]}", {1, 2}},
      {"{matchExpressions: [{key: t, operator: NotIn, values: [a, b]}]}", {0, 3, 4}},
      {"{matchExpressions: [{key: t, operator: Exists}]}", {1, 2, 3, 4}},
      {"{matchExpressions: [{key: t, operator: DoesNotExist}]}", {0}},
      {"{matchExpressions: [{key: t, operator: In, values: [a]}, {key: x, operator: NotIn, values: ['1']}]}",
       {1}},
      {"{matchLabels: {t: a}, matchExpressions: [{key: t, operator: In, values: [b]}]}", {}},
      {"{matchLabels: {t: ''}}", {4}},
      {"{}", {0, 1, 2, 3, 4}}};
  std::string pods = pod("target", "app: target", "192.0.2.100", "", "guarded");
  std::string spaces = pods;
  for (int i = 0; i < 5; i++) {
    const auto at = static_cast<std::size_t>(i);
    pods += pod("p" + std::to_string(i), labels[at], "192.0.2.1" + std::to_string(i));
    spaces += space("n" + std::to_string(i), labels[at]) +
              pod("p", "a: b", "192.0.2.2" + std::to_string(i), "", "n" + std::to_string(i));
  }
  for (const Row& row : rows) {
    const std::string selector = row.selector;
    const Objects subjects = read(pods + policy("p", "{podSelector: " + selector + "}"));
    const Objects peers = read(
        pods + policy("p",
                      "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}, podSelector: " + selector +
                          "}]}]}",
                      "guarded"));
    const Objects by_space = read(
        spaces + policy("p", "{podSelector: {}, ingress: [{from: [{namespaceSelector: " + selector + "}]}]}",
                        "guarded"));
    for (int i = 0; i < 5; i++) {
      const std::string one = "blue/p" + std::to_string(i);
      EXPECT_EQ(!allows(subjects, "203.0.113.5", one, 80), row.means.contains(i)) << selector << one;
      EXPECT_EQ(allows(peers, one, "guarded/target", 80), row.means.contains(i)) << selector << one;
      EXPECT_EQ(allows(by_space, "n" + std::to_string(i) + "/p", "guarded/target", 80), row.means.contains(i))
          << selector << i;
    }
  }
}

TEST(PolicyField, F076_BlocksLessTheirExceptionsToTheAddress) {
  struct Block {
    std::uint32_t first, last;
  };
  const auto block_of = [](std::uint32_t address, unsigned length) {
    const std::uint32_t mask = length == 0 ? 0 : ~std::uint32_t{0} << (32 - length);
    return Block{address & mask, address | ~mask};
  };
  const auto text = [](std::uint32_t address) {
    return std::to_string(address >> 24) + "." + std::to_string(address >> 16 & 255) + "." +
           std::to_string(address >> 8 & 255) + "." + std::to_string(address & 255);
  };
  constexpr std::uint32_t kTen = 10U << 24;
  std::vector<std::vector<std::pair<std::uint32_t, unsigned>>> lists = {
      {{kTen, 9}, {kTen + (128U << 16), 9}},
      {{kTen, 24}},
      {{kTen + (1U << 16), 16}, {kTen + (1U << 16) + (2U << 8), 24}},
      {{kTen + 0xffffff, 32}}};
  std::mt19937 random(7);
  for (int i = 0; i < 60; i++) {
    auto& list = lists.emplace_back();
    for (unsigned n = random() % 5; n > 0; n--)
      list.emplace_back(kTen + static_cast<std::uint32_t>(random() % 0x1000000), 9 + random() % 24);
  }
  for (const auto& list : lists) {
    std::string excepts;
    std::set<std::uint32_t> asked = {kTen - 1, kTen, kTen + 0xffffff, kTen + 0x1000000};
    for (const auto& [address, length] : list) {
      excepts += (excepts.empty() ? "" : ", ") + text(address) + "/" + std::to_string(length);
      const Block block = block_of(address, length);
      for (const std::uint32_t one : {block.first - 1, block.first, block.last, block.last + 1})
        asked.insert(one);
    }
    Objects objects =
        read(pod("web", "app: web", "192.0.2.10") +
             policy("p", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [" +
                             excepts + "]}}]}]}"));
    EXPECT_TRUE(objects.problems.empty()) << objects.problems[0].text();
    const Store store = compile(objects);
    for (const std::uint32_t address : asked) {
      const bool in_block = address >> 24 == 10;
      const bool excepted = std::ranges::any_of(list, [&](const auto& one) {
        const Block block = block_of(one.first, one.second);
        return address >= block.first && address <= block.last;
      });
      const auto probe = parse_probe({{"from", text(address)}, {"to", "blue/web"}, {"port", 80}}, "probe");
      EXPECT_EQ(store.ask(*probe)->allowed(), in_block && !excepted)
          << text(address) << " except " << excepts;
    }
  }
  for (const char* wrong : {"10.0.0.0/8", "11.0.0.0/8"}) {
    const Objects objects =
        read(pod("web", "app: web", "192.0.2.10") +
             policy("p", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [" +
                             std::string(wrong) + "]}}]}]}"));
    ASSERT_EQ(objects.problems.size(), 1U) << wrong;
    EXPECT_FALSE(allows(objects, "10.0.0.1", "blue/web", 80)) << wrong;
  }
}

// Loaded as a whole, or refused as a whole with the number that is too large.
TEST(PolicyField, F081_WhatIsTooMuchIsNamedAndClosed) {
  const auto with = [](const Json& ingress) {
    Objects objects = read(pod("web", "app: web", "192.0.2.10") + pod("other", "app: other", "192.0.2.11"));
    add_object(objects,
               {{"apiVersion", "networking.k8s.io/v1"},
                {"kind", "NetworkPolicy"},
                {"metadata", {{"name", "big"}, {"namespace", "blue"}}},
                {"spec", {{"podSelector", {{"matchLabels", {{"app", "web"}}}}}, {"ingress", ingress}}}},
               "big.json");
    return objects;
  };
  const auto address = [](int number) {
    return "10." + std::to_string(number >> 16) + "." + std::to_string(number >> 8 & 255) + "." +
           std::to_string(number & 255);
  };
  constexpr int kPeers = 70'000;
  Json many = Json::array();
  for (int i = 0; i < kPeers; i++) many.push_back({{"ipBlock", {{"cidr", address(i) + "/32"}}}});
  const Store peers = compile(with(Json::array({Json{{"from", many}}})));
  EXPECT_TRUE(peers.problems().empty()) << peers.problems()[0].text();
  const auto ask = [](const Store& store, const std::string& from, int port) {
    return store.ask(*parse_probe({{"from", from}, {"to", "blue/web"}, {"port", port}}, "probe"));
  };
  EXPECT_TRUE(ask(peers, address(0), 80)->allowed());
  EXPECT_TRUE(ask(peers, address(kPeers - 1), 80)->allowed());
  EXPECT_FALSE(ask(peers, address(kPeers), 80)->allowed());

  Json pairs = Json::array();
  for (int i = 0; i < kPeers; i++)
    pairs.push_back(
        {{"from", {{{"ipBlock", {{"cidr", address(i) + "/32"}}}}}}, {"ports", {{{"port", i % 65535 + 1}}}}});
  const Store refused = compile(with(pairs));
  ASSERT_EQ(refused.problems().size(), 1U);
  const Problem problem = refused.problems()[0];
  EXPECT_EQ(problem.id, "blue/big");
  EXPECT_NE(problem.reason.find(std::to_string(VMLANE_POLICY_MAX_RULES)), std::string::npos)
      << problem.reason;
  EXPECT_EQ(ask(refused, address(0), 1)->ingress.reason, Reason::kTooLarge);
  EXPECT_FALSE(ask(refused, address(0), 1)->allowed());
  EXPECT_TRUE(
      refused.ask(*parse_probe({{"from", "203.0.113.1"}, {"to", "blue/other"}, {"port", 80}}, "probe"))
          ->allowed());

  Json ports = Json::array();
  for (int i = 0; i < 300; i++) ports.push_back({{"port", 1000 + 2 * i}});
  const Store grid = compile(with(Json::array(
      {Json{{"from", Json(std::vector<Json>(many.begin(), many.begin() + 300))}, {"ports", ports}}})));
  EXPECT_TRUE(grid.problems().empty());
  EXPECT_TRUE(ask(grid, address(299), 1598)->allowed());
  EXPECT_FALSE(ask(grid, address(299), 1599)->allowed());
}

TEST(PolicyField, F109_NamesThatAreNearlyEqualAreDifferentPolicies) {
  const std::string longest(252, 'n');
  const auto to_web = [](int port) {
    return "{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: " + std::to_string(port) +
           "}]}]}";
  };
  const Objects objects =
      read(pod("web", "app: web", "192.0.2.10") + pod("web", "app: web", "192.0.2.20", "", "a-b") +
           pod("web", "app: web", "192.0.2.30", "", "a") + policy(longest + "1", to_web(1)) +
           policy(longest + "2", to_web(2)) + policy("c", to_web(3), "a-b") + policy("b-c", to_web(4), "a") +
           policy("with.dots", to_web(5)) + policy("with-dots", to_web(6)));
  for (const int port : {1, 2, 5, 6}) EXPECT_TRUE(allows(objects, "203.0.113.5", "blue/web", port)) << port;
  for (const int port : {3, 4}) EXPECT_FALSE(allows(objects, "203.0.113.5", "blue/web", port)) << port;
  EXPECT_TRUE(allows(objects, "203.0.113.5", "a-b/web", 3));
  EXPECT_FALSE(allows(objects, "203.0.113.5", "a-b/web", 4));
  EXPECT_TRUE(allows(objects, "203.0.113.5", "a/web", 4));
}

}  // namespace
}  // namespace vmlane::policy
