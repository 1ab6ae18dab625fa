// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/json.h"
#include "policy/objects.h"

// Json of one object to its type, and a Problem for each part that cannot be read. Internal to this room.
namespace vmlane::policy {

// The object that is being read: what its problems say of it.
class Subject {
 public:
  Subject(const Json& object, std::string kind, std::string source, std::vector<Problem>& problems);

  void report(const std::string& key, const std::string& reason, const std::string& effect) const {
    problems_.push_back({kind_, id(), key, reason, effect, source_});
  }
  std::string id() const { return ns.empty() ? name : ns + "/" + name; }
  // "is <value>, expected <expected>"
  static std::string wrong(const Json& value, std::string_view expected);

  std::string ns;  // as given
  std::string name;
  bool named = true;      // name and namespace could be read
  bool annotated = true;  // and all annotations
  Labels annotations;

 private:
  std::string kind_;
  std::string source_;
  std::vector<Problem>& problems_;
};

// "key[index]"
std::string at(const std::string& key, std::size_t index);

// The value at `key`; nullptr when it is absent, null, or `object` is no object.
const Json* member(const Json& object, std::string_view key);

// Reports keys of an object that are not among `known`. A key with a wrong letter would otherwise drop the
// condition that it stands for.
bool only_known_keys(const Json& object, const std::string& key,
                     std::initializer_list<std::string_view> known, const Subject& subject,
                     const std::string& effect);

// The strings of an object; no value, and a report, when it is something else. Absent is empty.
std::optional<Labels> decode_labels(const Json* json, const std::string& key, const Subject& subject,
                                    const std::string& effect);

// Requirements that can be read, and whether all can.
struct DecodedSelector {
  Selector selector;
  bool whole = true;
};
DecodedSelector decode_selector(const Json* json, const std::string& key, const Subject& subject,
                                const std::string& effect);

// "192.0.2.0/24", host bits cleared, leading zeros of an IPv4 number tolerated: old objects have both.
std::optional<IpPrefix> decode_cidr(const Json& json, const std::string& key, const Subject& subject,
                                    const std::string& effect);

// Whether the annotation says audit (true) or enforce; no value when it is not there. What is neither is
// reported, and counts as enforce.
std::optional<bool> decode_audit(const Subject& subject);

bool valid_port_name(std::string_view name);
std::optional<std::uint8_t> decode_protocol(std::string_view name);  // TCP, UDP or SCTP

// What a policy of each tier gives when it cannot be read in part: nobody is let in by it, and what denied or
// handed on denies.
void close(Policy& policy);

Policy decode_network_policy(const Json& object, const std::string& kind, const Subject& subject);
Policy decode_cluster_policy(const Json& object, const std::string& kind, const Subject& subject);
Pod decode_pod(const Json& object, const Subject& subject);
Namespace decode_namespace(const Json& object, const Subject& subject);
Node decode_node(const Json& object, const Subject& subject);

}  // namespace vmlane::policy
