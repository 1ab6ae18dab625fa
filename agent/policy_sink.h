// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/record.h"
#include "policy/store.h"

namespace vmlane::agent {

// An attachment of the node that the tables have an endpoint for.
struct JudgedAttachment {
  const AttachmentRecord& record;
  std::uint32_t endpoint = 0;  // number in the tables
  std::uint32_t network = 0;   // number of its policy network
};

// One whole state of policy: what is published together.
struct Generation {
  std::uint64_t number = 0;           // rises, over restarts too
  const policy::Publication& tables;  // the difference to the generation before
  // By attachment id. An attachment that is missing keeps its default verdict.
  std::vector<JudgedAttachment> attachments;
  const policy::Store& store;  // names of policies
  // Whether another policy has a number, or attachments or their endpoints are others, than the time before.
  bool attachments_changed = true;
};

// A place where datapaths read policy from. A generation is published as a whole: a reader sees the one
// before or this one. A failure leaves the one before in force.
class PolicySink {
 public:
  virtual ~PolicySink() = default;
  virtual std::string name() const = 0;
  virtual Result<> publish(const Generation& generation) = 0;
  // Whether what is there is still the generation published last, which is given again; if not, the next one
  // replaces all of it.
  virtual bool holds(const Generation& generation) = 0;
  // Number of the generation that is there from before; 0 for none.
  virtual std::uint64_t published() = 0;
  // What is wrong there, though it could be published.
  virtual std::vector<Error> problems() const { return {}; }
};

}  // namespace vmlane::agent
