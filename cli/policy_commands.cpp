// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <memory>
#include <ostream>

#include "cli/agent_client.h"
#include "cli/app.h"
#include "cli/node_source.h"
#include "core/files.h"
#include "manifests/documents.h"
#include "policy/explain.h"
#include "policy/reader.h"
#include "policy/simulate.h"
#include "policy/store.h"

namespace vmlane::cli {
namespace {

struct PolicyArguments {
  NodeSource node;
  std::vector<std::string> objects;
  std::vector<std::string> with;
  std::string probes;
  std::string from;
  std::string to;
  std::string protocol;
  int port = -1;
  std::string network = std::string(policy::kDefaultNetwork);
  std::string family;
};

constexpr std::string_view kPolicyExamples =
    "Examples:\n"
    "  vmlanectl policy eval --objects cluster/ --probes probes.json -o json\n"
    "  vmlanectl policy explain blue/client blue/db-0 TCP 5432 --objects cluster/\n"
    "  vmlanectl policy explain blue/client blue/db-0 TCP 5432\n"
    "  vmlanectl policy simulate --with new.yaml\n"
    "  vmlanectl policy drops --follow\n"
    "  vmlanectl policy counters --unused\n"
    "  vmlanectl policy ct ls --pod blue/db-0\n"
    "  vmlanectl policy explain 203.0.113.7 blue/web TCP 443 --objects all.yaml --network blue/dmz";

// Objects and their tables; what is wrong with objects has been told on standard error.
struct Loaded {
  policy::Objects objects;
  policy::Store store;
};

Result<Loaded> load(const PolicyArguments& arguments, const Context& context) {
  Loaded loaded;
  VMLANE_ASSIGN(loaded.objects, policy::read_objects({arguments.objects.begin(), arguments.objects.end()}));
  loaded.store = policy::compile(loaded.objects);
  for (const policy::Problem& problem : loaded.store.problems())
    context.err() << "vmlanectl: " << problem.text() << std::endl;
  return loaded;
}

Result<std::vector<policy::Probe>> read_probes(const std::string& file, Json& json) {
  VMLANE_ASSIGN(const auto text, read_file(file));
  if (!text) return fail(Code::kIo, "cannot read " + file + ": it does not exist");
  VMLANE_ASSIGN(json, parse_json(*text, file));
  if (!json.is_array()) return fail(Code::kInvalidConfig, file + " is no JSON array of probes");
  std::vector<policy::Probe> probes;
  for (std::size_t i = 0; i < json.size(); i++) {
    VMLANE_ASSIGN(probes.emplace_back(), policy::parse_probe(json[i], file + ": probe " + std::to_string(i)));
  }
  return probes;
}

// The answer to a probe has these keys, and `audit` where it would be denied but for it; `explain` tells the
// rest.
Json short_judgement(const Json& judgement) {
  Json row = {
      {"verdict", judgement["verdict"]}, {"policy", judgement["policy"]}, {"rule", judgement["rule"]}};
  if (judgement.contains("audit"))
    row["audit"] = {{"policy", judgement["audit"]["policy"]}, {"rule", judgement["audit"]["rule"]}};
  return row;
}

// "isolated NetworkPolicy blue/guard", "rule NetworkPolicy blue/guard rule 1".
std::string told_decision(const Json& made) {
  std::string text = made.value("reason", "");
  if (made["policy"].is_string()) text += " " + made.value("kind", "") + " " + made.value("policy", "");
  if (made["rule"].is_number()) text += " rule " + to_text(made["rule"]);
  return text;
}

std::string told(const Json& judgement) {
  const std::string text = judgement.value("verdict", "") + ": " + told_decision(judgement);
  if (!judgement.contains("audit")) return text;
  return text + ", in audit: would deny by " + told_decision(judgement["audit"]);
}

int evaluate(const PolicyArguments& arguments, const Context& context) {
  Json asked;
  const auto probes = read_probes(arguments.probes, asked);
  if (!probes) return context.failed(probes.error());
  const auto loaded = load(arguments, context);
  if (!loaded) return context.failed(loaded.error());
  const bool table = context.format == OutputFormat::kTable;
  Json rows = Json::array();
  for (std::size_t i = 0; i < probes->size(); i++) {
    const auto verdict = loaded->store.ask((*probes)[i]);
    if (!verdict)
      return context.failed(
          verdict.error().wrap(arguments.probes + ": probe " + std::to_string(i) + " cannot be answered"));
    const Json answer = policy::to_json(*verdict);
    Json row = table ? asked[i] : Json::object();
    row["verdict"] = answer["verdict"];
    for (const char* end : {"egress", "ingress"})
      row[end] = table ? Json(told(answer[end])) : short_judgement(answer[end]);
    rows.push_back(std::move(row));
  }
  context.out() << render_rows(context.format,
                               {{"FROM", "/from"},
                                {"TO", "/to"},
                                {"NETWORK", "/network"},
                                {"PROTOCOL", "/protocol"},
                                {"PORT", "/port"},
                                {"VERDICT", "/verdict"},
                                {"EGRESS", "/egress"},
                                {"INGRESS", "/ingress"}},
                               rows);
  return 0;
}

// As a probe of a file has it; a wrong one is found here, where the words are at hand.
Result<Json> connection_of(const PolicyArguments& arguments) {
  Json json = {{"from", arguments.from},
               {"to", arguments.to},
               {"protocol", arguments.protocol},
               {"network", arguments.network},
               {"family", arguments.family}};
  if (arguments.port >= 0) json["port"] = arguments.port;
  VMLANE_TRY(policy::parse_probe(json, "connection"));
  return json;
}

// By the files that were named, else by the agent of the node.
Result<Json> explanation(const PolicyArguments& arguments, const Context& context) {
  VMLANE_ASSIGN(const Json asked, connection_of(arguments));
  if (arguments.objects.empty()) {
    VMLANE_ASSIGN(auto agent, connect_agent(arguments.node, context));
    return agent.call("policy.explain", asked);
  }
  VMLANE_ASSIGN(const policy::Probe probe, policy::parse_probe(asked, "connection"));
  VMLANE_ASSIGN(const Loaded loaded, load(arguments, context));
  VMLANE_ASSIGN(const policy::Verdict verdict, loaded.store.ask(probe));
  VMLANE_ASSIGN(const policy::Explanation found, policy::explain(verdict, loaded.objects, probe));
  return found.to_json();
}

int explain(const PolicyArguments& arguments, const Context& context) {
  const auto found = explanation(arguments, context);
  if (!found) return context.failed(found.error());
  const Json& answer = *found;
  if (context.format == OutputFormat::kTable) {
    context.out() << answer.value("verdict", "") << "\n  egress   " << told(answer["egress"])
                  << "\n  ingress  " << told(answer["ingress"]) << "\n\n";
    for (const Json& line : answer["trace"]) context.out() << line.get<std::string>() << "\n";
  } else {
    context.out() << render_object(context.format, answer);
  }
  if (!answer.contains("disagreement")) return 0;
  return context.failed({Code::kInternal, "the tables and the text of the specification disagree",
                         "this is a fault of vmlane: please report it with the objects; by the text it is " +
                             to_text(answer["disagreement"]),
                         nullptr});
}

// Objects of files, each as something new.
Result<std::vector<policy::Change>> read_changes(const std::vector<std::string>& paths) {
  std::vector<policy::Change> changes;
  for (const std::string& path : paths) {
    VMLANE_TRY(visit_manifests(path, [&](const Json& object, const std::string& place) {
      changes.push_back(policy::Change::of(object, place));
      return Result<>();
    }));
  }
  return changes;
}

// By the files that were named, else by the agent of the node.
Result<Json> simulation(const PolicyArguments& arguments, const Context& context) {
  Json asked;
  std::vector<policy::Probe> probes;
  if (!arguments.probes.empty()) {
    VMLANE_ASSIGN(probes, read_probes(arguments.probes, asked));
  }
  VMLANE_ASSIGN(const auto candidates, read_changes(arguments.with));
  if (!arguments.objects.empty()) {
    VMLANE_ASSIGN(const auto objects, read_changes(arguments.objects));
    VMLANE_ASSIGN(const policy::Simulation found, policy::simulate(objects, candidates, probes));
    return found.to_json(asked);
  }
  Json params = {{"objects", Json::array()}};
  for (const policy::Change& change : candidates)
    params["objects"].push_back({{"object", *change.object}, {"place", change.source}});
  if (!asked.is_null()) params["probes"] = asked;
  VMLANE_ASSIGN(auto agent, connect_agent(arguments.node, context));
  return agent.call("policy.simulate", params);
}

int simulate(const PolicyArguments& arguments, const Context& context) {
  const auto found = simulation(arguments, context);
  if (!found) return context.failed(found.error());
  for (const Json& problem : (*found)["problems"])
    context.err() << "vmlanectl: " << problem.get<std::string>() << std::endl;
  if (context.format != OutputFormat::kTable) {
    context.out() << render_object(context.format, *found);
    return 0;
  }
  Json rows = Json::array();
  for (const Json& change : (*found)["changes"]) {
    Json row = change["probe"];
    for (const char* when : {"before", "after"}) {
      const Json& verdict = change[when];
      row[when] = verdict.value("verdict", "");
      for (const char* end : {"egress", "ingress"}) row[std::string(when) + "-" + end] = told(verdict[end]);
    }
    rows.push_back(std::move(row));
  }
  context.out() << render_rows(OutputFormat::kTable,
                               {{"FROM", "/from"},
                                {"TO", "/to"},
                                {"NETWORK", "/network"},
                                {"PROTOCOL", "/protocol"},
                                {"PORT", "/port"},
                                {"BEFORE", "/before"},
                                {"AFTER", "/after"},
                                {"EGRESS THEN", "/after-egress"},
                                {"INGRESS THEN", "/after-ingress"}},
                               rows)
                << rows.size() << " of " << to_text((*found)["asked"]) << " connections would change\n";
  return 0;
}

CLI::Option* add_objects_option(CLI::App& command, PolicyArguments& arguments) {
  return command
      .add_option("--objects", arguments.objects,
                  "file with objects (YAML or JSON), or directory of such; may be given again")
      ->type_name("PATH");
}

}  // namespace

void add_policy_commands(CLI::App& app, Context& context) {
  const auto arguments = std::make_shared<PolicyArguments>();
  CLI::App* group =
      app.add_subcommand("policy", "Which connections policies allow: from files, or by the node's agent");
  group->require_subcommand(1);
  group->footer(std::string(kPolicyExamples));

  CLI::App* eval = group->add_subcommand("eval", "Judge a list of connections");
  add_objects_option(*eval, *arguments)->required();
  eval->add_option("--probes", arguments->probes, "JSON array of {from, to, network, family, protocol, port}")
      ->required()
      ->type_name("FILE");
  add_output_option(*eval, context);
  eval->callback(
      [arguments, &context] { context.run = [=, &context] { return evaluate(*arguments, context); }; });

  CLI::App* simulated =
      group->add_subcommand("simulate", "Tell which connections other objects would judge otherwise");
  simulated
      ->add_option(
          "--with", arguments->with,
          "file or directory with candidate objects; each stands in the place of the one of its kind, "
          "namespace and name, or beside the others; may be given again")
      ->required()
      ->type_name("PATH");
  CLI::Option* probes =
      simulated
          ->add_option("--probes", arguments->probes,
                       "JSON array of {from, to, network, family, protocol, port}; default: the living "
                       "connections and recent drops of the node")
          ->type_name("FILE");
  add_objects_option(*simulated, *arguments)
      ->needs(probes)
      ->description("file or directory with the objects as they are; default: what the node's agent has");
  arguments->node.add_options(*simulated);
  add_output_option(*simulated, context);
  simulated->callback(
      [arguments, &context] { context.run = [=, &context] { return simulate(*arguments, context); }; });

  add_live_policy_commands(*group, context);

  CLI::App* told_why =
      group->add_subcommand("explain", "Judge one connection, and tell what each policy says of it");
  told_why->add_option("SRC", arguments->from, "namespace/pod or an address")->required();
  told_why->add_option("DST", arguments->to, "namespace/pod or an address")->required();
  told_why
      ->add_option("PROTO", arguments->protocol, "TCP, UDP, SCTP, ICMP or another protocol's name or number")
      ->required();
  told_why->add_option("PORT", arguments->port, "destination port; protocols without ports take none");
  told_why
      ->add_option("--network", arguments->network,
                   "default, or namespace/name of a NetworkAttachmentDefinition")
      ->type_name("NETWORK");
  told_why->add_option("--family", arguments->family, "ipv4 or ipv6 (default: that of an address, else ipv4)")
      ->type_name("FAMILY");
  add_objects_option(*told_why, *arguments)
      ->description(
          "file with objects (YAML or JSON), or directory of such; default: what the node's agent has");
  arguments->node.add_options(*told_why);
  add_output_option(*told_why, context);
  told_why->callback(
      [arguments, &context] { context.run = [=, &context] { return explain(*arguments, context); }; });
}

}  // namespace vmlane::cli
