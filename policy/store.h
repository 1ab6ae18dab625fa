// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/json.h"
#include "policy/objects.h"
#include "policy/probe.h"
#include "policy/verdict.h"

// The objects of a cluster as they come and go, one at a time, and the tables that say the same: the block
// that verdict.h describes.
//
// Publishing. Readers judge by the block while it changes: kernel programs by an array map with elements of
// one line, the switch by a mapped file. So publish() says which lines to write, in phases:
//
//   - within a phase lines and their 8-byte words may be written in any order, each word at once
//     (write_phase() does it); a word is the unit that a reader sees old or new;
//   - after each phase of a publication, the last one too, wait until every reader that was at work has
//     finished the packet in hand (a grace period: for the kernel's programs an update of a map of maps, for
//     the switch a look at each worker's quiescent state) before writing the next one;
//   - a publication that is `whole` has no phases: its block replaces the one before at another place (a new
//     inner map, a new file), and a reader changes from one to the other between two packets. It comes first,
//     and again whenever the block is outgrown or too much in it is dead.
//
// What a reader sees then: each verdict of one end is that of objects of which those that were changed are
// old or new, each whole; nothing in between. The phases, for who reads the code:
//
//   1. what nothing leads to yet: new profiles, new nodes of the trie, the class of new peer groups in every
//      profile, keys of new addresses, the facts of endpoints that are not active;
//   2. addresses go over to new peer groups, come and go. All profiles know the new groups by now, and what
//      tells a group from the one before it is a peer that changed, or of no importance to the old profiles;
//   3. endpoints go over to new profiles.
//
// Where that is not enough, the publication is whole: a namespace whose pods change both as peers and as
// ends, a pod that gives an address to another or takes one and changes as an end, too.
//
// Space that a publication freed is written by a later one at the earliest. Numbers of endpoints and networks
// stay what they are for as long as the pod has the interface; a policy that changes gets another number. The
// number of an endpoint that went is given to another by a later publication; until then it gets nothing
// through.
namespace vmlane::policy {

// One object that is new, has changed or has gone, as a watch or a reader of files gives it.
struct Change {
  std::string api_version;  // "networking.k8s.io/v1"
  std::string kind;         // "NetworkPolicy"
  std::string ns;           // empty for kinds without one
  std::string name;
  std::optional<Json> object;  // as it is now, valid or not; none when it has gone
  std::string source;          // for messages: file, document; or the API server

  // With kind, namespace and name as they stand in the object.
  static Change of(Json object, std::string source);
};

struct Line {
  std::uint32_t offset = 0;  // bytes from the start of the block, a multiple of 64
  std::array<std::uint64_t, VMLANE_POLICY_LINE / sizeof(std::uint64_t)> words{};
};
using Phase = std::vector<Line>;

struct Publication {
  std::uint64_t generation = 0;  // rises by one with each that says something
  bool whole = false;
  std::vector<Phase> phases;  // none empty; no phases and not whole: nothing has changed
  // The block as it is after the last phase; good until the next call of the store.
  std::span<const std::uint64_t> block;
};

// Writes a phase where readers read: words that differ, each at once, and after everything before.
void write_phase(std::span<std::uint64_t> block, const Phase& phase);

struct PolicyName {
  std::string kind;
  std::string id;
};

class Store {
 public:
  // Tables of more bytes than these are not made: nothing gets anything through then.
  static constexpr std::size_t kMaxBytes = std::size_t{2} << 30;
  explicit Store(std::size_t max_bytes = kMaxBytes);
  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;
  ~Store();

  // Takes a change in; one that says nothing new costs nothing. What cannot be read in the object is among
  // the problems, and fails closed for the pods it is about (reader.h).
  void apply(const Change& change);
  // The same for objects that have been read.
  void put(const Objects& objects);

  // The difference of the tables to those published last.
  Publication publish();

  // The block as published last; good until the next call that changes the store.
  std::span<const std::uint64_t> block() const;

  // Everything that is wrong with the objects at hand, sorted.
  std::vector<Problem> problems() const;

  // Names behind the numbers of the published tables; none for what is not in them.
  std::optional<std::uint32_t> endpoint(const std::string& pod, const std::string& network) const;
  std::optional<std::uint32_t> network(const std::string& name) const;
  // Also of a policy that went, until its number is given again: after two whole publications at the
  // earliest.
  const PolicyName* policy(std::uint32_t number) const;
  // Of the policies at hand, by number; empty for a number that none has.
  std::vector<PolicyName> policies() const;
  // Rises when policies() changes.
  std::uint64_t policies_version() const;

  // The verdict by the published tables: what a datapath does, with the ends found by name. Code::kNotFound
  // for a pod that does not exist.
  Result<Verdict> ask(const Probe& probe) const;

 private:
  class Contents;
  std::unique_ptr<Contents> contents_;
};

// All objects at once, published.
Store compile(const Objects& objects);

}  // namespace vmlane::policy
