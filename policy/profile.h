// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "policy/block.h"
#include "policy/groups.h"
#include "policy/objects.h"

// The rules of one endpoint in one direction as rows of bits. Internal to this room.
namespace vmlane::policy {

// A policy as the tables keep it.
struct StoredPolicy {
  Policy policy;
  std::array<std::vector<TermId>, kDirections> terms;  // of the peers of all its rules, in their order
};

struct NumberedPolicy {
  const StoredPolicy* stored = nullptr;
  std::uint32_t number = 0;  // in the tables
  bool audited = false;      // it denies nothing

  const Policy& policy() const { return stored->policy; }
};

// A number that the name of a port stands for, with the pods that have it so: for the endpoint's own pod, all
// that matter.
struct ResolvedPort {
  NamedPort port;
  std::optional<TermId> term;
};

// What a profile is made of: the policies that select the endpoint, in the order in which they are asked.
struct ProfileRequest {
  Direction direction = Direction::kEgress;
  std::vector<NumberedPolicy> policies;
  std::vector<ResolvedPort> ports;
};

// Tables of ports, which many profiles have alike.
class PortPages {
 public:
  // Offset of the pages for a class of each port; 0 for no classes.
  std::uint32_t take(Block& block, const std::vector<std::uint16_t>& classes);
  void give_back(Block& block, std::uint32_t offset);

 private:
  using Content = std::vector<std::uint16_t>;
  struct Shared {
    std::uint32_t offset = 0;
    std::size_t users = 0;
  };
  std::map<Content, Shared> shared_;
  std::map<std::uint32_t, std::map<Content, Shared>::iterator> by_offset_;
};

class Profile {
 public:
  // Writes the profile where nothing leads to it, with the groups that there are.
  Profile(Block& block, PortPages& pages, const PeerGroups& groups, const ProfileRequest& request);

  // Where it is; 0 when it has nothing to say.
  std::uint32_t offset() const { return offset_; }
  // The terms that make a difference to it, rising.
  std::vector<TermId> terms() const;
  // Gives a group its class, which readers do not know yet. False when there is no room for it.
  bool add_group(Block& block, const PeerGroups& groups, GroupId group);
  // A few groups more and there will be no room.
  bool is_full(const PeerGroups& groups) const;
  void release(Block& block, PortPages& pages) const;

  // The policy that is past a limit, and why; the endpoint gets nothing through.
  struct Excess {
    const Policy* policy = nullptr;
    std::string why;
  };
  const std::optional<Excess>& excess() const { return excess_; }

 private:
  friend class ProfileBuilder;
  static constexpr TermId kNone = 0xffffffff;
  using Row = std::vector<std::uint64_t>;

  // A peer that meets `term`, and `also` where it is one, has `bit`.
  struct TermBit {
    TermId term = 0;
    std::uint32_t bit = 0;
    TermId also = kNone;
    auto operator<=>(const TermBit&) const = default;
  };

  // The row of a group, with its summary.
  void find_row(const PeerGroups& groups, GroupId group, Row& row) const;
  void summarize(Row& row) const;
  void release(Block& block) const;
  bool put_class(Block& block, GroupId group, std::uint32_t number);
  std::uint32_t class_of(const Block& block, GroupId group) const;

  std::uint32_t offset_ = 0;
  std::uint32_t bytes_ = 0;
  std::array<std::uint32_t, 3> pages_{};
  std::vector<TermBit> term_bits_;  // rising
  Row any_;                         // row of class 0
  std::uint32_t words_ = 0;         // of a row without its summary
  std::uint32_t peer_rows_ = 0;
  std::uint32_t classes_ = 0;
  std::uint32_t class_room_ = 0;
  std::uint32_t groups_ = 0;  // offset
  std::uint32_t group_mask_ = 0;
  std::uint32_t group_room_ = 0;
  std::uint32_t group_entries_ = 0;
  std::optional<Excess> excess_;
};

}  // namespace vmlane::policy
