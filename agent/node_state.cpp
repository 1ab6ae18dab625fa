// SPDX-License-Identifier: Apache-2.0
#include "agent/node_state.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

namespace vmlane::agent {
namespace {

// With what was behind it, and the first that tells what follows.
Json problem_of(const Error& error) {
  std::string reason;
  std::string effect;
  for (const Error* one = &error; one != nullptr; one = one->cause.get()) {
    reason += (reason.empty() ? "" : ": ") + one->message;
    if (effect.empty()) effect = one->details;
  }
  return {{"reason", reason}, {"effect", effect}};
}

Json problem_of(const policy::Problem& problem) {
  return {{"kind", problem.kind},     {"id", problem.id},         {"key", problem.key},
          {"reason", problem.reason}, {"effect", problem.effect}, {"source", problem.source}};
}

// A static pod's object on the API server is a copy with a uid of its own; the runtime knows the pod by the
// uid that this annotation has.
constexpr const char* kMirrorAnnotation = "kubernetes.io/config.mirror";

std::string_view word_for(const ClusterObject* object, const std::string& uid) {
  if (object == nullptr) return "gone";
  const Json pod = object->json();
  const Json metadata = pod.value("metadata", Json::object());
  const std::string its = text_at(metadata, "uid");
  const bool mirrors = metadata.is_object() && metadata.contains("annotations") &&
                       text_at(metadata["annotations"], kMirrorAnnotation) == uid;
  if (!uid.empty() && !its.empty() && uid != its && !mirrors) return "gone";
  const std::string phase = text_at(pod.value("status", Json::object()), "phase");
  return phase == "Succeeded" || phase == "Failed" ? "ended" : "here";
}

}  // namespace

NodeState::NodeState(const NodeConfig& config, const Log& log, std::string node, ObjectSource& objects,
                     AttachmentFiles records, AttachmentChecks checks, std::vector<PolicySink*> sinks,
                     std::chrono::milliseconds check_interval)
    : log_(log),
      node_(std::move(node)),
      source_(objects),
      records_(std::move(records)),
      checks_(std::move(checks)),
      sinks_(std::move(sinks)),
      compare_interval_(check_interval),
      cluster_(node_),
      facts_(config),
      learned_(config) {
  for (PolicySink* sink : sinks_) generation_ = std::max(generation_, sink->published());
  names_since_ = generation_ + 1;
}

void NodeState::update(ObjectSource::Clock::time_point now) {
  const bool source_changed = source_.update(now);
  if (!source_.complete()) {
    look_at_addresses_ =
        ObjectSource::Clock::time_point::max();  // not before there is something to do with them
    return log_changes();
  }
  Changes changes{
      .objects = cluster_.apply(source_.take_changes()), .attachments = records_.update(), .node = !started_};
  look_at_addresses(now, changes);
  const bool unfinished = !failures_.empty() || !fact_errors_.empty() || !learned_errors_.empty();
  const bool any = !changes.objects.empty() || !changes.attachments.empty() || changes.node;
  checks_.update(now, records_.records());
  if (!source_changed && !any && !unfinished && started_) {
    compare(now);
    return log_changes();
  }
  const bool first = !std::exchange(started_, true);
  rejoin(changes);
  write_facts(changes);
  model(changes);
  const policy::Publication tables = model_.publish();
  const bool moved = judge(changes);
  const bool others = moved || first || !changes.attachments.empty();
  if (others || tables.whole || !tables.phases.empty() || !failures_.empty()) publish(tables, others);
  if (!changes.attachments.empty() || !learned_errors_.empty())
    learned_errors_ = learned_.update(attachments_);
  remove_facts(changes, first);
  compare(now);
  log_changes();
}

void NodeState::resync(ObjectSource::Clock::time_point now) {
  source_.read_again();
  records_.read_again();
  judged_.clear();
  started_ = false;
  look_at_addresses_ = now;
  update(now);
}

void NodeState::look_at_addresses(ObjectSource::Clock::time_point now, Changes& changes) {
  constexpr std::chrono::seconds kInterval{2};
  const auto& records = records_.records();
  if (now < look_at_addresses_ && started_) {
    for (const std::string& id : changes.attachments) {
      if (const auto record = records.find(id); record != records.end()) learn(id, record->second, changes);
    }
    return;
  }
  look_at_addresses_ = now + kInterval;
  auto own = own_addresses();
  changes.node = changes.node || own != node_addresses_;
  node_addresses_ = std::move(own);
  for (const auto& [id, record] : records) learn(id, record, changes);
}

void NodeState::learn(const std::string& id, const AttachmentRecord& record, Changes& changes) {
  auto addresses = learned_addresses(record);
  auto& known = learned_addresses_[id];
  if (addresses == known) return;
  known = std::move(addresses);
  changes.attachments.insert(id);
}

void NodeState::rejoin(Changes& changes) {
  for (const auto& [id, attachment] : attachments_) {
    const PodIdentity& pod = attachment.record->pod;
    if (changes.objects.contains("Pod " + pod.ns + "/" + pod.name)) changes.attachments.insert(id);
  }
  const auto& records = records_.records();
  for (const std::string& id : changes.attachments) {
    if (const auto before = attachments_.find(id); before != attachments_.end()) {
      if (!before->second.pod.empty()) {
        const std::string key = "Pod " + before->second.pod;
        of_pod_[key].erase(id);
        changes.objects.insert(key);
      }
      attachments_.erase(before);
    }
    const auto record = records.find(id);
    if (record == records.end()) {
      learned_addresses_.erase(id);
      continue;
    }
    Attachment& attachment = attachments_[id] = join(record->second, cluster_);
    attachment.learned = learned_addresses_[id];
    if (attachment.pod.empty()) continue;
    const std::string key = "Pod " + attachment.pod;
    of_pod_[key].insert(id);
    changes.objects.insert(key);
  }
}

void NodeState::write_facts(const Changes& changes) {
  std::set<std::string> keys = changes.objects;
  for (const auto& [key, error] : std::exchange(fact_errors_, {})) keys.insert(key);
  constexpr std::string_view kPod = "Pod ";
  for (const std::string& key : keys) {
    if (!key.starts_with(kPod)) continue;
    const auto pod = cluster_.pods().find(key.substr(kPod.size()));
    if (pod == cluster_.pods().end()) continue;
    if (const auto written = facts_.write(pod->second); !written) fact_errors_.emplace(key, written.error());
  }
}

// Facts may be unneeded when a pod or an attachment has gone; what they are is found out from the files.
void NodeState::remove_facts(const Changes& changes, bool first) {
  const bool gone =
      std::ranges::any_of(changes.attachments, [&](const auto& id) { return !attachments_.contains(id); }) ||
      std::ranges::any_of(changes.objects,
                          [&](const auto& key) { return !cluster_.objects().contains(key); });
  if (first || gone) facts_.remove_others(cluster_.pods(), records_.records());
}

void NodeState::model(const Changes& changes) {
  const ObjectSet& objects = cluster_.objects();
  const std::string node_key = "Node " + node_;
  static const std::vector<ObjectPointer> none;
  for (const std::string& key : changes.objects) {
    if (key == node_key) continue;
    const auto found = objects.find(key);
    completed_.erase(key);
    const auto ids = of_pod_.find(key);
    std::vector<const Attachment*> attachments;
    if (ids != of_pod_.end()) {
      for (const std::string& id : ids->second) {
        if (!attachments_.at(id).network.empty()) attachments.push_back(&attachments_.at(id));
      }
      if (ids->second.empty()) of_pod_.erase(ids);
    }
    // Policy closes a pod that is given twice.
    if (found == objects.end() || found->second.size() != 1 || attachments.empty()) {
      model_.put(key, found == objects.end() ? none : found->second);
      continue;
    }
    const ObjectPointer completed = completed_[key] = completed_pod(found->second[0], attachments, node_);
    model_.put(key, {completed});
  }
  if (!changes.node && !changes.objects.contains(node_key)) return;
  const auto found = objects.find(node_key);
  completed_.erase(node_key);
  if (found != objects.end() && found->second.size() != 1) return model_.put(node_key, found->second);
  const ObjectPointer given = found == objects.end() ? nullptr : found->second[0];
  const ObjectPointer node = completed_[node_key] = completed_node(given, node_, node_addresses_);
  model_.put(node_key, {node});
}

bool NodeState::judge(const Changes& changes) {
  bool moved = false;
  for (const std::string& id : changes.attachments) {
    const auto attachment = attachments_.find(id);
    std::optional<std::pair<std::uint32_t, std::uint32_t>> place;
    if (attachment != attachments_.end() && !attachment->second.network.empty() &&
        attachment->second.record->state != RecordState::kDeleting) {
      const auto endpoint = model_.store().endpoint(attachment->second.pod, attachment->second.network);
      const auto network = model_.store().network(attachment->second.network);
      if (endpoint && network) place = {*endpoint, *network};
    }
    const auto before = judged_.find(id);
    if (!place && before != judged_.end()) {
      judged_.erase(before);
      moved = true;
    } else if (place && (before == judged_.end() || before->second != *place)) {
      judged_[id] = *place;
      moved = true;
    }
  }
  return moved;
}

Generation NodeState::generation_of(const policy::Publication& tables, bool attachments_changed) const {
  Generation generation{.number = generation_,
                        .tables = tables,
                        .attachments = {},
                        .store = model_.store(),
                        .attachments_changed = attachments_changed};
  for (const auto& [id, place] : judged_)
    generation.attachments.push_back({records_.records().at(id), place.first, place.second});
  return generation;
}

void NodeState::compare(ObjectSource::Clock::time_point now) {
  if (compare_interval_.count() == 0 ||
      (compare_ != ObjectSource::Clock::time_point::max() && now < compare_))
    return;
  compare_ = now + compare_interval_;
  const policy::Publication tables{.whole = true, .phases = {}, .block = model_.store().block()};
  const Generation generation = generation_of(tables, true);
  bool all_hold = true;
  for (PolicySink* sink : sinks_) {
    if (sink->holds(generation)) continue;
    all_hold = false;
    repaired_[sink->name()]++;
    log_.warning("what was published is not there any more as it was; it is published again",
                 {{"sink", sink->name()}, {"generation", std::to_string(generation_)}});
  }
  if (!all_hold) publish(tables, true);
}

void NodeState::publish(const policy::Publication& tables, bool attachments_changed) {
  generation_++;
  const Generation generation = generation_of(tables, attachments_changed);
  if (tables.whole) {
    names_since_ = std::max(names_since_, whole_);
    whole_ = generation_;
  }
  failures_.clear();
  for (PolicySink* sink : sinks_) {
    const auto published = sink->publish(generation);
    if (published)
      published_[sink->name()] = generation_;
    else
      failures_.emplace(sink->name(), published.error());
  }
  log_.debug("published", {{"generation", std::to_string(generation_)},
                           {"attachments", std::to_string(generation.attachments.size())}});
}

ObjectSet NodeState::policy_objects() const {
  ObjectSet objects = cluster_.objects();
  for (const auto& [key, object] : completed_) objects[key] = {object};
  return objects;
}

policy::Objects NodeState::policies() const {
  ObjectSet policies;
  for (const auto& [key, same] : cluster_.objects()) {
    if (key.substr(0, key.find(' ')).ends_with("NetworkPolicy")) policies[key] = same;
  }
  return read_objects(policies);
}

Result<policy::Explanation> NodeState::explain(const policy::Probe& probe) const {
  return model_.explain(policy_objects(), probe);
}

const Attachment* NodeState::attachment(const std::string& id) const {
  const auto found = attachments_.find(id);
  return found == attachments_.end() ? nullptr : &found->second;
}

const policy::PolicyName* NodeState::policy_name(std::uint64_t generation, std::uint32_t number) const {
  if (generation < names_since_) return nullptr;
  const policy::PolicyName* name = model_.store().policy(number);
  return name == nullptr || name->id.empty() ? nullptr : name;
}

std::vector<int> NodeState::fds() const {
  std::vector<int> fds = source_.fds();
  fds.push_back(records_.fd());
  if (checks_.fd() >= 0) fds.push_back(checks_.fd());
  return fds;
}

std::vector<Json> NodeState::problems() const {
  std::vector<Json> all;
  for (const auto& [path, error] : source_.problems()) all.push_back(problem_of(error));
  for (const Error& error : cluster_.problems()) all.push_back(problem_of(error));
  for (const policy::Problem& problem : model_.store().problems()) all.push_back(problem_of(problem));
  for (const auto& [name, error] : records_.problems()) all.push_back(problem_of(error));
  for (const auto& [key, error] : fact_errors_) all.push_back(problem_of(error));
  for (const Error& error : learned_errors_) all.push_back(problem_of(error));
  for (const auto& [sink, error] : failures_) all.push_back(problem_of(error));
  for (const Error& error : checks_.problems()) all.push_back(problem_of(error));
  for (const PolicySink* sink : sinks_) {
    for (const Error& error : sink->problems()) all.push_back(problem_of(error));
  }
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

Result<Json> NodeState::pods_of_attachments() const {
  if (!started_) return fail(Code::kTryAgain, "the agent does not know all objects yet");
  if (const auto doubt = source_.pods_in_doubt()) return fail(doubt->wrap("the agent may not know all pods"));
  Json words = Json::object();
  for (const auto& [id, attachment] : attachments_) {
    const PodIdentity& pod = attachment.record->pod;
    words[id] =
        pod.name.empty() ? "none" : word_for(cluster_.find("Pod " + pod.ns + "/" + pod.name), pod.uid);
  }
  return words;
}

Json NodeState::attachment_rows() const {
  Json rows = Json::array();
  for (const auto& [id, attachment] : attachments_) {
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
  for (const PolicySink* sink : sinks_) {
    const auto published = published_.find(sink->name());
    Json row = {{"name", sink->name()},
                {"generation", published == published_.end() ? 0 : published->second},
                {"repaired", repaired_.contains(sink->name()) ? repaired_.at(sink->name()) : 0}};
    if (const auto failure = failures_.find(sink->name()); failure != failures_.end())
      row["error"] = failure->second.text();
    sinks.push_back(std::move(row));
  }
  std::size_t objects = 0;
  for (const auto& [key, same] : cluster_.objects()) objects += same.size();
  return {{"node", node_},
          {"generation", generation_},
          {"source", source_.status()},
          {"objects", objects},
          {"pods", cluster_.pods().size()},
          {"attachments", attachment_rows()},
          {"checks", checks_.status()},
          {"sinks", std::move(sinks)},
          {"problems", problems()}};
}

}  // namespace vmlane::agent
