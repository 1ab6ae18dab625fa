// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <memory>
#include <ostream>

#include "cli/app.h"
#include "core/files.h"
#include "policy/oracle.h"
#include "policy/reader.h"
#include "policy/store.h"

namespace vmlane::cli {
namespace {

struct PolicyArguments {
  std::vector<std::string> objects;
  std::string probes;
  std::string from;
  std::string to;
  std::string protocol;
  int port = -1;
  std::string network = std::string(policy::kDefaultNetwork);
  std::string family;
};

constexpr std::string_view kExamples =
    "Examples:\n"
    "  vmlanectl policy eval --objects cluster/ --probes probes.json -o json\n"
    "  vmlanectl policy explain blue/client blue/db-0 TCP 5432 --objects cluster/\n"
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

// The answer to a probe has these keys and no more; `explain` tells the rest.
Json short_judgement(const Json& judgement) {
  return {{"verdict", judgement["verdict"]}, {"policy", judgement["policy"]}, {"rule", judgement["rule"]}};
}

std::string told(const Json& judgement) {
  std::string text = judgement.value("verdict", "") + ": " + judgement.value("reason", "");
  if (judgement["policy"].is_string())
    text += " " + judgement.value("kind", "") + " " + judgement.value("policy", "");
  if (judgement["rule"].is_number()) text += " rule " + to_text(judgement["rule"]);
  return text;
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

Result<policy::Probe> probe_of(const PolicyArguments& arguments) {
  Json json = {{"from", arguments.from},
               {"to", arguments.to},
               {"protocol", arguments.protocol},
               {"network", arguments.network},
               {"family", arguments.family}};
  if (arguments.port >= 0) json["port"] = arguments.port;
  return policy::parse_probe(json, "connection");
}

int explain(const PolicyArguments& arguments, const Context& context) {
  const auto probe = probe_of(arguments);
  if (!probe) return context.failed(probe.error());
  const auto loaded = load(arguments, context);
  if (!loaded) return context.failed(loaded.error());
  const auto verdict = loaded->store.ask(*probe);
  if (!verdict) return context.failed(verdict.error());
  policy::Trace trace;
  const auto expected = policy::ask_oracle(loaded->objects, *probe, &trace);
  if (!expected) return context.failed(expected.error());
  Json answer = policy::to_json(*verdict);
  if (context.format == OutputFormat::kTable) {
    context.out() << answer["verdict"].get<std::string>() << "\n  egress   " << told(answer["egress"])
                  << "\n  ingress  " << told(answer["ingress"]) << "\n\n";
    for (const std::string& line : trace) context.out() << line << "\n";
  } else {
    answer["trace"] = trace;
    context.out() << render_object(context.format, answer);
  }
  const bool too_large = verdict->egress.reason == policy::Reason::kTooLarge ||
                         verdict->ingress.reason == policy::Reason::kTooLarge;
  if (*verdict == *expected || too_large) return 0;
  return context.failed({Code::kInternal, "the tables and the text of the specification disagree",
                         "this is a fault of vmlane: please report it with the objects; by the text it is " +
                             to_text(policy::to_json(*expected)),
                         nullptr});
}

void add_objects_option(CLI::App& command, PolicyArguments& arguments) {
  command
      .add_option("--objects", arguments.objects,
                  "file with objects (YAML or JSON), or directory of such; may be given again")
      ->required()
      ->type_name("PATH");
}

}  // namespace

void add_policy_commands(CLI::App& app, Context& context) {
  const auto arguments = std::make_shared<PolicyArguments>();
  CLI::App* group =
      app.add_subcommand("policy", "Which connections policies allow, from files, with no cluster");
  group->require_subcommand(1);
  group->footer(std::string(kExamples));

  CLI::App* eval = group->add_subcommand("eval", "Judge a list of connections");
  add_objects_option(*eval, *arguments);
  eval->add_option("--probes", arguments->probes, "JSON array of {from, to, network, family, protocol, port}")
      ->required()
      ->type_name("FILE");
  add_output_option(*eval, context);
  eval->callback(
      [arguments, &context] { context.run = [=, &context] { return evaluate(*arguments, context); }; });

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
  add_objects_option(*told_why, *arguments);
  add_output_option(*told_why, context);
  told_why->callback(
      [arguments, &context] { context.run = [=, &context] { return explain(*arguments, context); }; });
}

}  // namespace vmlane::cli
