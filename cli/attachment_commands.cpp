// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <ostream>
#include <thread>
#include <utility>

#include "cli/agent_client.h"
#include "cli/app.h"
#include "cli/attachments.h"
#include "cli/node_source.h"
#include "cni/leftovers.h"
#include "cni/real_kernel.h"
#include "core/boot_id.h"

namespace vmlane::cli {
namespace {

struct AttachmentArguments {
  NodeSource node;
  std::string id;
  std::string ifname;
  bool dry_run = false;
};

constexpr std::string_view kAttachmentExamples =
    "Examples:\n"
    "  vmlanectl attachment ls\n"
    "  vmlanectl attachment ls --lab -o json\n"
    "  vmlanectl attachment show 3f2a -o yaml\n"
    "  vmlanectl attachment show 0123abcd...(container id) eth0\n"
    "  vmlanectl attachment sweep --dry-run";

Result<RecordStore::Listing> read_records(const AttachmentArguments& arguments, const Context& context) {
  VMLANE_ASSIGN(const NodeConfig config, arguments.node.read(context));
  return RecordStore(config).list();
}

// Unreadable records are told of, and make the command fail after it has shown the others.
int report_problems(const RecordStore::Listing& listing, const Context& context) {
  for (const Error& problem : listing.problems) context.failed(problem);
  return listing.problems.empty() ? 0 : kFailed;
}

int list_attachments(const AttachmentArguments& arguments, const Context& context) {
  const auto listing = read_records(arguments, context);
  if (!listing) return context.failed(listing.error());
  Json rows = Json::array();
  for (const AttachmentRecord& record : listing->records) rows.push_back(attachment_summary(record));
  context.out() << render_rows(context.format,
                               {{"ID", "/id"},
                                {"LANE", "/lane"},
                                {"NETWORK", "/network"},
                                {"POD", "/pod"},
                                {"IFNAME", "/ifname"},
                                {"MAC", "/mac"},
                                {"IP", "/ips"},
                                {"MTU", "/mtu"},
                                {"STATE", "/state"}},
                               rows);
  return report_problems(*listing, context);
}

int show_attachment(const AttachmentArguments& arguments, const Context& context) {
  const auto listing = read_records(arguments, context);
  if (!listing) return context.failed(listing.error());
  const auto record = find_attachment(*listing, arguments.id, arguments.ifname);
  if (!record) {
    report_problems(*listing, context);  // the one that was asked for may be among them
    return context.failed(record.error());
  }
  Json object = record->to_json();
  object["id"] = record->key.id();
  if (Json counters = attachment_counters(*record); !counters.is_null())
    object["counters"] = std::move(counters);
  context.out() << render_object(context.format, object);
  return 0;
}

// What the objects say of the attachments' pods, by the agent. Where no agent has run there are no objects to
// ask, and the namespace alone counts.
struct PodWords {
  bool asked = false;
  std::optional<Error> silence;  // why there was no answer
  Json by_id = Json::object();

  // "-" where nobody is there to be asked, "no answer" also for an attachment that the agent has not seen
  // yet.
  std::string of(const std::string& id) const {
    if (!asked) return "-";
    return silence ? "no answer" : by_id.value(id, "no answer");
  }
  // Whether they agree that the attachment may go. "none": it is of no pod.
  bool agree(const std::string& id) const {
    const std::string word = of(id);
    return word == "-" || word == "gone" || word == "ended" || word == "none";
  }
};

PodWords ask_agent(const AttachmentArguments& arguments, const Context& context, const NodeConfig& config) {
  std::error_code ignored;
  PodWords words;
  words.asked = std::filesystem::exists(config.agent_marker(), ignored);
  if (!words.asked) return words;
  auto agent = connect_agent(arguments.node, context);
  auto answer = agent ? agent->call("attachment.pods") : Result<Json>(fail(agent.error()));
  if (answer)
    words.by_id = std::move(*answer);
  else
    words.silence = answer.error();
  return words;
}

// Why an attachment is dead; empty for a living one.
Result<std::string> cause_of_death(const cni::Node& node, const AttachmentRecord& record) {
  if (record.boot_id != node.boot_id) return std::string("earlier boot");
  VMLANE_ASSIGN(const bool gone, cni::sandbox_is_gone(node, record));
  return std::string(gone ? "sandbox gone" : "");
}

// One row for each attachment whose sandbox is gone, and for each of which nobody can tell; the others are
// gone on with. What the objects still have, or nobody tells of, is kept.
Result<Json> sweep(const AttachmentArguments& arguments, const Context& context, const NodeConfig& config,
                   const RecordStore::Listing& listing) {
  const Log log(config, "vmlanectl", {{"op", "sweep"}});
  cni::RealKernel kernel;
  VMLANE_ASSIGN(std::string boot_id, read_boot_id(config.boot_id_file));
  const cni::Node node{config, log, kernel, std::move(boot_id)};
  Environment env = context.invocation.env;
  if (!config.source.empty()) env["VMLANE_CONFIG"] = config.source.string();
  Json rows = Json::array();
  std::vector<std::pair<const AttachmentRecord*, Result<std::string>>> dead;
  for (const AttachmentRecord& record : listing.records) {
    auto cause = cause_of_death(node, record);
    if (!cause || !cause->empty()) dead.emplace_back(&record, std::move(cause));
  }
  if (dead.empty()) return rows;
  PodWords words = ask_agent(arguments, context, config);
  // What was said is taken for true when it is said again: a watch may be a moment behind.
  constexpr std::chrono::seconds kSecondLook{1};
  if (words.asked && !words.silence) {
    std::this_thread::sleep_for(kSecondLook);
    const PodWords before = std::exchange(words, ask_agent(arguments, context, config));
    for (const auto& [record, cause] : dead) {
      const std::string id = record->key.id();
      if (!before.agree(id)) words.by_id[id] = before.of(id);
    }
  }
  for (auto& [pointer, cause] : dead) {
    const AttachmentRecord& record = *pointer;
    if (cause) cause = cause_of_death(node, record);
    if (cause && cause->empty()) continue;
    const std::string id = record.key.id();
    // Nothing of an earlier boot lives, whatever became of its pod.
    const bool of_this_boot = record.boot_id == node.boot_id;
    const bool agreed = !of_this_boot || words.agree(id);
    Json row = attachment_summary(record);
    row["cause"] = cause.value_or("unknown");
    row["objects"] = of_this_boot ? words.of(id) : "-";
    const bool removes = cause && agreed && !arguments.dry_run;
    const auto removed = removes ? cni::delete_by_plugin(env, record) : Result<>();
    const auto error = !cause ? cause.error().text() : (!removed ? removed.error().text() : std::string());
    row["outcome"] = !error.empty() ? "failed"
                     : !agreed      ? "kept"
                                    : (removes ? "removed" : "would be removed");
    if (!error.empty())
      row["error"] = error;
    else if (!agreed && words.silence)
      row["error"] = words.silence->text();
    rows.push_back(std::move(row));
  }
  return rows;
}

int sweep_attachments(const AttachmentArguments& arguments, const Context& context) {
  const auto config = arguments.node.read(context);
  if (!config) return context.failed(config.error());
  const auto listing = RecordStore(*config).list();
  if (!listing) return context.failed(listing.error());
  const auto rows = sweep(arguments, context, *config, *listing);
  if (!rows) return context.failed(rows.error());
  context.out() << render_rows(context.format,
                               {{"ID", "/id"},
                                {"LANE", "/lane"},
                                {"NETWORK", "/network"},
                                {"POD", "/pod"},
                                {"IFNAME", "/ifname"},
                                {"CAUSE", "/cause"},
                                {"POD IS", "/objects"},
                                {"OUTCOME", "/outcome"}},
                               *rows);
  int status = report_problems(*listing, context);
  for (const Json& row : *rows) {
    if (!row.contains("error")) continue;
    context.err() << "vmlanectl: attachment " << row.value("id", "") << ": " << row.value("error", "")
                  << std::endl;
    status = kFailed;
  }
  return status;
}

}  // namespace

void add_attachment_commands(CLI::App& app, Context& context) {
  const auto arguments = std::make_shared<AttachmentArguments>();
  CLI::App* group = app.add_subcommand("attachment", "The node's attachments, as the plugins recorded them");
  group->require_subcommand(1);
  group->footer(std::string(kAttachmentExamples));

  CLI::App* list = group->add_subcommand("ls", "List attachments");
  arguments->node.add_options(*list);
  add_output_option(*list, context);
  list->callback([arguments, &context] {
    context.run = [=, &context] { return list_attachments(*arguments, context); };
  });

  CLI::App* swept = group->add_subcommand(
      "sweep", "Remove the attachments whose sandbox and pod are gone: the DEL that a runtime did not send");
  swept->add_flag("--dry-run", arguments->dry_run, "only say what would be removed");
  arguments->node.add_options(*swept);
  add_output_option(*swept, context);
  swept->callback([arguments, &context] {
    context.run = [=, &context] { return sweep_attachments(*arguments, context); };
  });

  CLI::App* show = group->add_subcommand("show", "Show one attachment with all that is known of it");
  show->add_option("ID", arguments->id,
                   "attachment id or a unique beginning of one; with IFNAME a container id")
      ->required();
  show->add_option("IFNAME", arguments->ifname, "interface in the pod");
  arguments->node.add_options(*show);
  add_output_option(*show, context);
  show->callback([arguments, &context] {
    context.run = [=, &context] { return show_attachment(*arguments, context); };
  });
}

}  // namespace vmlane::cli
