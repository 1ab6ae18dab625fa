// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "agent/attachment_files.h"
#include "agent/cluster.h"
#include "agent/join.h"
#include "agent/learned_files.h"
#include "agent/object_files.h"
#include "agent/pod_facts.h"
#include "agent/policy_model.h"
#include "agent/policy_sink.h"
#include "core/log.h"

namespace vmlane::agent {

// Everything that the agent knows of its node, and what it makes of it: facts about pods and published
// tables. Nothing is kept between two runs: what a killed agent left is overwritten by what the files say.
class NodeState {
 public:
  NodeState(const NodeConfig& config, const Log& log, std::string node, ObjectFiles files,
            AttachmentFiles records, std::vector<std::unique_ptr<PolicySink>> sinks);

  // Reads what changed and does what follows from it: first the facts, for which plugins wait, then the
  // tables. What fails is tried again the next time.
  void update(ObjectFiles::Clock::time_point now);
  // As if everything had changed.
  void resync(ObjectFiles::Clock::time_point now);
  std::vector<int> fds() const;
  ObjectFiles::Clock::time_point next() const { return files_.next(); }

  // What `vmlanectl agent status` shows: {node, generation, files, objects, attachments, sinks, problems}.
  Json status() const;
  const Cluster& cluster() const { return cluster_; }
  const PolicyModel& policy() const { return model_; }
  std::uint64_t generation() const { return generation_; }
  // Of the attachment's pod, by id; nullptr when there is none.
  const Attachment* attachment(const std::string& id) const;
  const std::vector<Attachment>& attachments() const { return attachments_; }
  // The policy that a number meant in a generation; nullptr when that is not known any more.
  const policy::PolicyName* policy_name(std::uint64_t generation, std::uint32_t number) const;
  // Whether everything could be read and published.
  bool clean() const { return problems().empty() && failures_.empty(); }

 private:
  // Whether addresses of the node or of attachments are others now.
  bool look_at_addresses();
  void judge(const Attachment& attachment);
  void publish(const policy::Publication& tables);
  Json attachment_rows() const;
  // Everything that is wrong, as {reason} with what else is known: kind, id, key, effect, source.
  std::vector<Json> problems() const;
  void log_changes();

  const Log& log_;
  std::string node_;
  ObjectFiles files_;
  AttachmentFiles records_;
  std::vector<std::unique_ptr<PolicySink>> sinks_;

  Cluster cluster_;
  std::vector<IpAddress> node_addresses_;
  std::map<std::string, std::vector<IpAddress>> learned_addresses_;  // by attachment
  std::vector<Attachment> attachments_;
  Completion completion_;
  PolicyModel model_;
  PodFacts facts_;
  LearnedFiles learned_;

  bool started_ = false;
  std::uint64_t generation_ = 0;
  std::map<std::string, std::uint64_t> published_;  // generation by sink
  std::map<std::string, Error> failures_;           // by sink
  std::vector<Error> write_errors_;                 // of facts and what was learned
  // Names of policies by number, of the last generations: events tell numbers.
  std::map<std::uint64_t, std::vector<policy::PolicyName>> names_;
  std::map<std::string, std::pair<std::uint32_t, std::uint32_t>> judged_;  // endpoint, network by attachment
  std::set<std::string> logged_;
};

}  // namespace vmlane::agent
