// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "agent/attachment_checks.h"
#include "agent/attachment_files.h"
#include "agent/cluster.h"
#include "agent/join.h"
#include "agent/learned_files.h"
#include "agent/object_source.h"
#include "agent/pod_facts.h"
#include "agent/policy_model.h"
#include "agent/policy_sink.h"
#include "core/log.h"

namespace vmlane::agent {

// Everything that the agent knows of its node, and what it makes of it: facts about pods and published
// tables. A change costs what it changes, not what there is. Nothing is kept between two runs: what a killed
// agent left is overwritten by what the objects say.
class NodeState {
 public:
  // Objects and sinks must outlive it; the sinks are given each generation in their order. What was published
  // is compared with what is there once in `check_interval`; never, when it is zero.
  NodeState(const NodeConfig& config, const Log& log, std::string node, ObjectSource& objects,
            AttachmentFiles records, AttachmentChecks checks, std::vector<PolicySink*> sinks,
            std::chrono::milliseconds check_interval);

  // Reads what changed and does what follows from it: first the facts, for which plugins wait, then the
  // tables. What fails is tried again the next time.
  void update(ObjectSource::Clock::time_point now);
  // As if everything had changed.
  void resync(ObjectSource::Clock::time_point now);
  std::vector<int> fds() const;
  ObjectSource::Clock::time_point next() const {
    return std::min({source_.next(), look_at_addresses_, checks_.next(), compare_});
  }

  // What `vmlanectl agent status` shows: {node, generation, source, objects, pods, attachments, checks,
  // sinks, problems}.
  Json status() const;
  // What the objects say of each attachment's pod, by id: "here", "ended" (it will not run again), "gone", or
  // "none" for an attachment of no pod. Code::kTryAgain while a pod may be there that is not known.
  Result<Json> pods_of_attachments() const;
  const Cluster& cluster() const { return cluster_; }
  // What policy gets: the objects with what only this node knows.
  ObjectSet policy_objects() const;
  // The policies alone, as types.
  policy::Objects policies() const;
  // The verdict by the published tables, and why.
  Result<policy::Explanation> explain(const policy::Probe& probe) const;
  std::uint64_t generation() const { return generation_; }
  // Of the attachment's pod, by id; nullptr when there is none.
  const Attachment* attachment(const std::string& id) const;
  const std::map<std::string, Attachment>& attachments() const { return attachments_; }  // by id
  // The policy that a number meant in a generation; nullptr when that is not known any more.
  const policy::PolicyName* policy_name(std::uint64_t generation, std::uint32_t number) const;
  // Those that there are, and empty names.
  std::vector<policy::PolicyName> policy_names() const { return model_.store().policies(); }
  // Whether everything could be read and published.
  bool clean() const { return started_ && problems().empty() && failures_.empty(); }
  // Whether there was enough to begin with: nothing is made of a part of a cluster.
  bool started() const { return started_; }

 private:
  // What has to be looked at.
  struct Changes {
    std::set<std::string> objects;      // keys
    std::set<std::string> attachments;  // ids
    bool node = false;                  // the node's own addresses
  };

  // The addresses of the node and those that attachments without IPAM have learned, now and then; of
  // attachments that changed, at once.
  void look_at_addresses(ObjectSource::Clock::time_point now, Changes& changes);
  void learn(const std::string& id, const AttachmentRecord& record, Changes& changes);
  // Brings attachments up to date; pods that gained or lost one are among the changed objects then.
  void rejoin(Changes& changes);
  void write_facts(const Changes& changes);
  void remove_facts(const Changes& changes, bool first);
  void model(const Changes& changes);
  // Whether an attachment has got, lost or changed its endpoint.
  bool judge(const Changes& changes);
  void publish(const policy::Publication& tables, bool attachments_changed);
  Generation generation_of(const policy::Publication& tables, bool attachments_changed) const;
  // Publishes again what is not in a sink any more as it was published.
  void compare(ObjectSource::Clock::time_point now);
  Json attachment_rows() const;
  // Everything that is wrong, as {reason} with what else is known: kind, id, key, effect, source.
  std::vector<Json> problems() const;
  void log_changes();

  const Log& log_;
  std::string node_;
  ObjectSource& source_;
  AttachmentFiles records_;
  AttachmentChecks checks_;
  std::vector<PolicySink*> sinks_;
  std::chrono::milliseconds compare_interval_;
  ObjectSource::Clock::time_point compare_ = ObjectSource::Clock::time_point::max();

  Cluster cluster_;
  ObjectSource::Clock::time_point look_at_addresses_;
  std::vector<IpAddress> node_addresses_;
  std::map<std::string, std::vector<IpAddress>> learned_addresses_;  // by attachment
  std::map<std::string, Attachment> attachments_;                    // by id
  std::map<std::string, std::set<std::string>> of_pod_;              // ids by the key of their pod's object
  std::map<std::string, ObjectPointer> completed_;                   // pods with attachments, and the node
  PolicyModel model_;
  PodFacts facts_;
  LearnedFiles learned_;

  bool started_ = false;
  std::uint64_t generation_ = 0;
  std::map<std::string, std::uint64_t> published_;  // generation by sink
  std::map<std::string, std::uint64_t> repaired_;   // how often a sink had to be put right
  std::map<std::string, Error> failures_;           // by sink
  std::map<std::string, Error> fact_errors_;        // by key of the pod
  std::vector<Error> learned_errors_;
  std::uint64_t names_since_ = 0;  // the first generation whose numbers still mean what they meant
  std::uint64_t whole_ = 0;        // the last one that was published as a whole
  std::map<std::string, std::pair<std::uint32_t, std::uint32_t>> judged_;  // endpoint, network by attachment
  std::set<std::string> logged_;
};

}  // namespace vmlane::agent
