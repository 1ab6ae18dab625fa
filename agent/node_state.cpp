// SPDX-License-Identifier: Apache-2.0
#include "agent/node_state.h"

#include <algorithm>

namespace vmlane::agent {
namespace {

Json problem_of(const Error& error) {
  return {{"reason", error.message}, {"effect", error.details}};
}

Json problem_of(const policy::Problem& problem) {
  return {{"kind", problem.kind},     {"id", problem.id},         {"key", problem.key},
          {"reason", problem.reason}, {"effect", problem.effect}, {"source", problem.source}};
}

}  // namespace

NodeState::NodeState(const NodeConfig& config, const Log& log, std::string node, ObjectFiles files,
                     AttachmentFiles records, std::vector<std::unique_ptr<PolicySink>> sinks)
    : log_(log),
      node_(std::move(node)),
      files_(std::move(files)),
      records_(std::move(records)),
      sinks_(std::move(sinks)),
      completion_(node_),
      facts_(config),
      learned_(config) {
  for (const auto& sink : sinks_) generation_ = std::max(generation_, sink->published());
}

void NodeState::update(ObjectFiles::Clock::time_point now) {
  const bool objects_changed = files_.update(now);
  const bool records_changed = records_.update();
  const bool addresses_changed = look_at_addresses();
  const bool unfinished = !failures_.empty() || !write_errors_.empty() || !started_;
  if (!objects_changed && !records_changed && !addresses_changed && !unfinished) return;
  started_ = true;
  if (objects_changed) cluster_ = read_cluster(files_, node_);
  write_errors_ = facts_.write(cluster_.pods);
  attachments_ = join(records_.records(), cluster_);
  for (Attachment& attachment : attachments_)
    attachment.learned = learned_addresses_[attachment.record->key.id()];
  const bool tables_changed =
      model_.update(completion_.complete(cluster_.objects, attachments_, node_addresses_));
  const policy::Publication tables = model_.publish();
  const auto before = std::move(judged_);
  judged_.clear();
  for (const Attachment& attachment : attachments_) judge(attachment);
  if (tables_changed || records_changed || judged_ != before || !failures_.empty()) publish(tables);
  std::ranges::move(learned_.update(attachments_), std::back_inserter(write_errors_));
  facts_.remove_others(cluster_.pods, records_.records());
  log_changes();
}

void NodeState::resync(ObjectFiles::Clock::time_point now) {
  files_.read_again();
  records_.read_again();
  started_ = false;
  judged_.clear();
  update(now);
}

bool NodeState::look_at_addresses() {
  auto own = own_addresses();
  std::map<std::string, std::vector<IpAddress>> learned;
  for (const auto& [id, record] : records_.records()) learned[id] = learned_addresses(record);
  const bool changed = own != node_addresses_ || learned != learned_addresses_;
  node_addresses_ = std::move(own);
  learned_addresses_ = std::move(learned);
  return changed;
}

void NodeState::judge(const Attachment& attachment) {
  if (attachment.network.empty() || attachment.record->state == RecordState::kDeleting) return;
  const auto endpoint = model_.store().endpoint(attachment.pod, attachment.network);
  const auto network = model_.store().network(attachment.network);
  if (endpoint && network) judged_[attachment.record->key.id()] = {*endpoint, *network};
}

void NodeState::publish(const policy::Publication& tables) {
  Generation generation{
      .number = ++generation_, .tables = tables, .attachments = {}, .policies = model_.policy_names()};
  for (const auto& [id, place] : judged_)
    generation.attachments.push_back({records_.records().at(id), place.first, place.second});
  constexpr std::size_t kKeptNames = 16;
  if (tables.whole || !tables.phases.empty()) names_[generation_] = generation.policies;
  if (names_.size() > kKeptNames) names_.erase(names_.begin());
  failures_.clear();
  for (const auto& sink : sinks_) {
    const auto published = sink->publish(generation);
    if (published)
      published_[sink->name()] = generation_;
    else
      failures_.emplace(sink->name(), published.error());
  }
  log_.debug("published", {{"generation", std::to_string(generation_)},
                           {"attachments", std::to_string(generation.attachments.size())}});
}

const Attachment* NodeState::attachment(const std::string& id) const {
  const auto found = std::ranges::find(
      attachments_, id, [](const Attachment& attachment) { return attachment.record->key.id(); });
  return found == attachments_.end() ? nullptr : &*found;
}

const policy::PolicyName* NodeState::policy_name(std::uint64_t generation, std::uint32_t number) const {
  const auto later = names_.upper_bound(generation);
  if (later == names_.begin()) return nullptr;
  const auto& names = std::prev(later)->second;
  return number < names.size() && !names[number].id.empty() ? &names[number] : nullptr;
}

std::vector<int> NodeState::fds() const {
  std::vector<int> fds = files_.fds();
  fds.push_back(records_.fd());
  return fds;
}

std::vector<Json> NodeState::problems() const {
  std::vector<Json> all;
  for (const auto& [path, error] : files_.problems()) all.push_back(problem_of(error));
  for (const Error& error : cluster_.problems) all.push_back(problem_of(error));
  for (const policy::Problem& problem : model_.store().problems()) all.push_back(problem_of(problem));
  for (const auto& [name, error] : records_.problems()) all.push_back(problem_of(error));
  for (const Error& error : write_errors_) all.push_back(problem_of(error));
  for (const auto& [sink, error] : failures_) all.push_back(problem_of(error));
  return all;
}

// Each problem once, when it comes and when it goes.
void NodeState::log_changes() {
  std::set<std::string> now;
  for (const Json& problem : problems()) now.insert(to_text(problem));
  for (const std::string& text : now) {
    if (logged_.contains(text)) continue;
    Log::Fields fields;
    const Json problem = Json::parse(text);
    for (const auto& [key, value] : problem.items()) {
      if (const auto said = value.get<std::string>(); !said.empty()) fields.emplace_back(key, said);
    }
    log_.warning("problem", fields);
  }
  for (const std::string& text : logged_) {
    if (!now.contains(text)) log_.info("solved", {{"reason", Json::parse(text).value("reason", "")}});
  }
  logged_ = std::move(now);
}

Json NodeState::attachment_rows() const {
  Json rows = Json::array();
  for (const Attachment& attachment : attachments_) {
    const std::string id = attachment.record->key.id();
    Json row = {{"id", id},
                {"ifname", attachment.record->key.ifname},
                {"lane", attachment.record->plugin},
                {"state", to_string(attachment.record->state)},
                {"pod", attachment.pod},
                {"network", attachment.network},
                {"judged", judged_.contains(id)}};
    if (!attachment.missing.empty()) row["missing"] = attachment.missing;
    rows.push_back(std::move(row));
  }
  return rows;
}

Json NodeState::status() const {
  Json sinks = Json::array();
  for (const auto& sink : sinks_) {
    const auto published = published_.find(sink->name());
    Json row = {{"name", sink->name()},
                {"generation", published == published_.end() ? 0 : published->second}};
    if (const auto failure = failures_.find(sink->name()); failure != failures_.end())
      row["error"] = failure->second.text();
    sinks.push_back(std::move(row));
  }
  std::size_t objects = 0;
  for (const auto& [key, same] : cluster_.objects) objects += same.size();
  return {{"node", node_},
          {"generation", generation_},
          {"files", files_.file_count()},
          {"objects", objects},
          {"pods", cluster_.pods.size()},
          {"attachments", attachment_rows()},
          {"sinks", std::move(sinks)},
          {"problems", problems()}};
}

}  // namespace vmlane::agent
