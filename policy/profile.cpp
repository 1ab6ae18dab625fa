// SPDX-License-Identifier: Apache-2.0
#include "policy/profile.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <unordered_map>

namespace vmlane::policy {
namespace {

constexpr std::uint32_t kWordBits = 64;
constexpr std::size_t kMaxProfileBytes = std::size_t{16} << 20;  // contracts 3.8
constexpr std::size_t kMaxRuleIndex = 0xffff;
constexpr std::size_t kPage = VMLANE_POLICY_PAGE;
constexpr std::size_t kPorts = kPage * kPage;
constexpr std::array<std::uint8_t, 3> kPortProtocols = {kTcp, kUdp, kSctp};

using Row = std::vector<std::uint64_t>;

void set(Row& row, std::uint32_t bit) {
  row[bit / kWordBits] |= std::uint64_t{1} << (bit % kWordBits);
}

void clear(Row& row, std::uint32_t bit) {
  row[bit / kWordBits] &= ~(std::uint64_t{1} << (bit % kWordBits));
}

// One bit of the rows. A rule with named ports towards others has one for its numbers, and one for each
// number that the name stands for, met by the peers that have it so.
struct Bit {
  NumberedPolicy policy;
  const Rule* rule = nullptr;
  std::optional<TermId> also;    // a term that the peer must meet besides
  std::vector<PortMatch> ports;  // without names
  bool any_port = false;
};

struct GroupClass {
  GroupId group = 0;
  std::uint32_t row = 0;
};

// Rows without repetition.
class Classes {
 public:
  std::uint32_t of(const Row& row) {
    const auto [entry, fresh] = ids_.try_emplace(row, static_cast<std::uint32_t>(rows_.size()));
    if (fresh) rows_.push_back(&entry->first);
    return entry->second;
  }
  std::size_t count() const { return rows_.size(); }
  const std::vector<const Row*>& rows() const { return rows_; }

 private:
  std::map<Row, std::uint32_t> ids_;
  std::vector<const Row*> rows_;
};

class ProfileBuilder {
 public:
  ProfileBuilder(const PeerGroups& groups, Direction direction, const std::vector<NumberedPolicy>& policies,
                 const std::vector<NamedPort>& own_ports)
      : groups_(groups), direction_(direction), own_ports_(own_ports) {
    for (const NumberedPolicy& policy : policies) {
      if (policy.policy->tier == Tier::kNetworkPolicy && !policy.policy->isolates_in(direction)) continue;
      if (policy.policy->tier == Tier::kNetworkPolicy && !isolating_) isolating_ = policy;
      if (policy.policy->tier == Tier::kBaseline && isolating_) continue;
      add_policy(policy);
      if (too_large_ != nullptr) return;
    }
  }

  ProfileResult write(BlockWriter& block) {
    if (bits_.empty() && !isolating_ && too_large_ == nullptr) return {};
    if (too_large_ == nullptr) build_rows();
    const std::uint32_t offset = block.reserve(sizeof(vmlane_policy_profile), VMLANE_POLICY_LINE);
    vmlane_policy_profile profile{};
    profile.flags = isolating_ ? std::uint32_t{VMLANE_POLICY_PROFILE_ISOLATED} : 0;
    profile.isolated_by = isolating_ ? isolating_->number : 0;
    if (too_large_ != nullptr) {
      profile.flags = VMLANE_POLICY_PROFILE_TOO_LARGE;
      profile.isolated_by = too_large_number_;
    } else {
      write_rows(block, profile);
    }
    block.at<vmlane_policy_profile>(offset) = profile;
    return {offset, too_large_, why_};
  }

 private:
  void refuse(const NumberedPolicy& policy, const std::string& why) {
    too_large_ = policy.policy;
    too_large_number_ = policy.number;
    why_ = why;
  }

  void add_bit(Bit bit) {
    if (bits_.size() == VMLANE_POLICY_MAX_RULES || bit.rule->index > kMaxRuleIndex) {
      return refuse(bit.policy,
                    "makes more than " + std::to_string(VMLANE_POLICY_MAX_RULES) + " rules for one pod");
    }
    if (bit.policy.policy->tier == Tier::kAdmin) admin_++;
    bits_.push_back(std::move(bit));
  }

  void add_policy(const NumberedPolicy& policy) {
    for (const Rule& rule : policy.policy->rules_of(direction_)) {
      Bit plain{.policy = policy, .rule = &rule, .also = {}, .ports = {}, .any_port = rule.any_port};
      std::map<TermId, std::vector<PortMatch>> by_number;
      for (const PortMatch& port : rule.ports) {
        if (port.name.empty()) {
          plain.ports.push_back(port);
        } else if (direction_ == Direction::kIngress) {
          for (const NamedPort& named : own_ports_) resolve(port, named, plain.ports);
        } else {
          for (const auto& [named, term] : groups_.named_ports()) resolve(port, named, by_number[term]);
        }
      }
      const bool any_peer = rule.any_peer || !rule.peers.empty();
      if (any_peer && (plain.any_port || !plain.ports.empty())) add_bit(std::move(plain));
      for (auto& [term, ports] : by_number) {
        if (any_peer && !ports.empty() && too_large_ == nullptr)
          add_bit(
              {.policy = policy, .rule = &rule, .also = term, .ports = std::move(ports), .any_port = false});
      }
      if (too_large_ != nullptr) return;
    }
  }

  static void resolve(const PortMatch& port, const NamedPort& named, std::vector<PortMatch>& into) {
    if (named.name != port.name || (port.protocol != 0 && port.protocol != named.protocol)) return;
    into.push_back({.protocol = named.protocol, .first = named.number, .last = named.number, .name = {}});
  }

  void build_rows() {
    words_ = static_cast<std::uint32_t>((bits_.size() + kWordBits - 1) / kWordBits);
    build_peer_rows();
    build_port_rows();
    if (peer_classes_.count() > VMLANE_POLICY_MAX_CLASSES ||
        port_classes_.count() > VMLANE_POLICY_MAX_CLASSES || bytes() > kMaxProfileBytes) {
      refuse(bits_.back().policy, "makes tables of " + std::to_string(bytes()) + " bytes and " +
                                      std::to_string(std::max(peer_classes_.count(), port_classes_.count())) +
                                      " classes for one pod");
    }
  }

  std::size_t bytes() const {
    return (peer_classes_.count() + port_classes_.count()) * row_words() * sizeof(std::uint64_t) +
           groups_.count() * sizeof(std::uint16_t) + bits_.size() * sizeof(vmlane_policy_rule);
  }

  std::uint32_t summary_words() const {
    return words_ > VMLANE_POLICY_PLAIN_WORDS ? (words_ + kWordBits - 1) / kWordBits : 0;
  }
  std::size_t row_words() const { return words_ + summary_words(); }

  void build_peer_rows() {
    Row any(words_);
    std::unordered_map<GroupId, Row> rows;
    const auto row_of = [&](GroupId group) -> Row& { return rows.try_emplace(group, words_).first->second; };
    for (std::uint32_t bit = 0; bit < bits_.size(); bit++) {
      const Bit& one = bits_[bit];
      std::vector<GroupId> also;
      if (one.also) also = groups_.groups_with(*one.also);
      if (one.rule->any_peer) {
        if (!one.also) set(any, bit);
        for (const GroupId group : also) set(row_of(group), bit);
        continue;
      }
      for (const Peer& peer : one.rule->peers) {
        for (const GroupId group : groups_.groups_with(groups_.term(peer))) {
          if (!one.also || std::ranges::binary_search(also, group)) set(row_of(group), bit);
        }
      }
    }
    peer_classes_.of(any);  // class 0, of all groups without a row
    for (auto& [group, row] : rows) {
      for (std::uint32_t word = 0; word < words_; word++) row[word] |= any[word];
      const std::uint32_t number = peer_classes_.of(row);
      if (number != 0) group_classes_.push_back({group, number});
    }
    std::ranges::sort(group_classes_, {}, &GroupClass::group);
  }

  void build_port_rows() {
    Row any(words_);
    for (std::uint32_t bit = 0; bit < bits_.size(); bit++) {
      if (bits_[bit].any_port) set(any, bit);
    }
    any_port_ = port_classes_.of(any);
    for (std::size_t i = 0; i < kPortProtocols.size(); i++)
      build_port_rows(any, kPortProtocols[i], port_class_[i]);
  }

  // Sweeps the ports, with a row that changes where a range begins or ends.
  void build_port_rows(const Row& any, std::uint8_t protocol, std::vector<std::uint16_t>& classes) {
    std::map<std::uint32_t, std::vector<std::pair<std::uint32_t, int>>> changes;
    for (std::uint32_t bit = 0; bit < bits_.size(); bit++) {
      if (bits_[bit].any_port) continue;
      for (const PortMatch& port : bits_[bit].ports) {
        if (port.protocol != protocol) continue;
        changes[port.first].emplace_back(bit, 1);
        changes[std::uint32_t{port.last} + 1].emplace_back(bit, -1);
      }
    }
    if (changes.empty()) return;
    classes.resize(kPorts);
    Row row = any;
    std::vector<int> open(bits_.size());
    std::uint32_t current = any_port_;
    std::size_t done = 0;
    const auto fill = [&](std::size_t end) {
      std::fill(classes.begin() + static_cast<std::ptrdiff_t>(done),
                classes.begin() + static_cast<std::ptrdiff_t>(end), static_cast<std::uint16_t>(current));
      done = end;
    };
    for (const auto& [port, bits] : changes) {
      fill(port);
      for (const auto& [bit, change] : bits) {
        open[bit] += change;
        if (open[bit] > 0) {
          set(row, bit);
        } else {
          clear(row, bit);
        }
      }
      current = port_classes_.of(row);
    }
    fill(kPorts);
  }

  std::uint32_t write_classes(BlockWriter& block, const Classes& classes) const {
    const std::uint32_t offset =
        block.reserve(classes.count() * row_words() * sizeof(std::uint64_t), VMLANE_POLICY_LINE);
    std::uint64_t* at = &block.at<std::uint64_t>(offset);
    for (const Row* row : classes.rows()) {
      std::ranges::copy(*row, at);
      for (std::uint32_t word = 0; word < words_ && summary_words() > 0; word++) {
        if ((*row)[word] != 0) at[words_ + word / kWordBits] |= std::uint64_t{1} << (word % kWordBits);
      }
      at += row_words();
    }
    return offset;
  }

  static std::uint32_t write_pages(BlockWriter& block, const std::vector<std::uint16_t>& classes) {
    if (classes.empty()) return 0;
    std::map<std::vector<std::uint16_t>, std::uint16_t> pages;
    std::vector<const std::vector<std::uint16_t>*> order;
    std::vector<std::uint16_t> root;
    for (std::size_t page = 0; page < kPage; page++) {
      const auto begin = classes.begin() + static_cast<std::ptrdiff_t>(page * kPage);
      // Most pages are like the one before.
      if (page > 0 && std::equal(begin, begin + kPage, begin - kPage)) {
        root.push_back(root.back());
        continue;
      }
      const auto [entry, fresh] = pages.try_emplace(std::vector<std::uint16_t>(begin, begin + kPage),
                                                    static_cast<std::uint16_t>(order.size()));
      if (fresh) order.push_back(&entry->first);
      root.push_back(entry->second);
    }
    const std::uint32_t offset =
        block.reserve((order.size() + 1) * kPage * sizeof(std::uint16_t), VMLANE_POLICY_LINE);
    auto* at = &block.at<std::uint16_t>(offset);
    std::ranges::copy(root, at);
    for (const auto* page : order) std::ranges::copy(*page, at += kPage);
    return offset;
  }

  // As an array of all groups, or a hash of those with a row, whichever is smaller.
  void write_groups(BlockWriter& block, vmlane_policy_profile& profile) const {
    const std::vector<vmlane_policy_group_class> table =
        hash_groups(std::bit_ceil(group_classes_.size() * 2 + 2));
    if (table.size() * sizeof(vmlane_policy_group_class) >= groups_.count() * sizeof(std::uint16_t)) {
      profile.groups = block.reserve(groups_.count() * sizeof(std::uint16_t), VMLANE_POLICY_LINE);
      auto* classes = &block.at<std::uint16_t>(profile.groups);
      for (const auto& [group, row] : group_classes_) classes[group] = static_cast<std::uint16_t>(row);
      return;
    }
    profile.group_mask = static_cast<std::uint32_t>(table.size() - 1);
    profile.groups = block.reserve(table.size() * sizeof(vmlane_policy_group_class), VMLANE_POLICY_LINE);
    std::ranges::copy(table, &block.at<vmlane_policy_group_class>(profile.groups));
  }

  // Doubled until every group is found within the steps that a reader takes.
  std::vector<vmlane_policy_group_class> hash_groups(std::size_t size) const {
    for (;; size *= 2) {
      std::vector<vmlane_policy_group_class> table(size);
      const bool all = std::ranges::all_of(group_classes_, [&](const GroupClass& entry) {
        const std::uint32_t hash = vmlane_policy_group_hash(entry.group);
        for (std::uint32_t probe = 0; probe < VMLANE_POLICY_MAX_PROBES; probe++) {
          vmlane_policy_group_class& place = table[(hash + probe) & (size - 1)];
          if (place.both != 0) continue;
          place.both = std::uint64_t{entry.row} << 32 | (entry.group + 1);
          return true;
        }
        return false;
      });
      if (all) return table;
    }
  }

  void write_rows(BlockWriter& block, vmlane_policy_profile& profile) const {
    profile.rule_count = static_cast<std::uint32_t>(bits_.size());
    profile.admin_count = admin_;
    profile.words = words_;
    profile.summary = summary_words();
    profile.peer_rows = write_classes(block, peer_classes_);
    profile.port_rows = write_classes(block, port_classes_);
    profile.any_port = any_port_;
    profile.group_count = static_cast<std::uint32_t>(groups_.count());
    write_groups(block, profile);
    for (std::size_t i = 0; i < kPortProtocols.size(); i++)
      profile.pages[i] = write_pages(block, port_class_[i]);
    profile.rules = block.reserve(bits_.size() * sizeof(vmlane_policy_rule), VMLANE_POLICY_LINE);
    for (std::size_t i = 0; i < bits_.size(); i++) {
      const Bit& bit = bits_[i];
      (&block.at<vmlane_policy_rule>(profile.rules))[i] = {
          bit.policy.number, static_cast<std::uint16_t>(bit.rule->index),
          static_cast<std::uint8_t>(bit.rule->action), static_cast<std::uint8_t>(bit.policy.policy->tier)};
    }
  }

  const PeerGroups& groups_;
  Direction direction_;
  const std::vector<NamedPort>& own_ports_;
  std::optional<NumberedPolicy> isolating_;
  std::vector<Bit> bits_;
  std::uint32_t admin_ = 0;
  std::uint32_t words_ = 0;
  Classes peer_classes_;
  Classes port_classes_;
  std::vector<GroupClass> group_classes_;  // but for class 0
  std::array<std::vector<std::uint16_t>, kPortProtocols.size()> port_class_;
  std::uint32_t any_port_ = 0;
  const Policy* too_large_ = nullptr;
  std::uint32_t too_large_number_ = 0;
  std::string why_;
};

}  // namespace

std::uint32_t BlockWriter::reserve(std::size_t bytes, std::size_t alignment) {
  const std::size_t begin = (size() + alignment - 1) / alignment * alignment;
  words_.resize((begin + bytes + sizeof(std::uint64_t) - 1) / sizeof(std::uint64_t) + 1);
  return static_cast<std::uint32_t>(begin);
}

ProfileResult write_profile(BlockWriter& block, const PeerGroups& groups, Direction direction,
                            const std::vector<NumberedPolicy>& policies,
                            const std::vector<NamedPort>& own_ports) {
  return ProfileBuilder(groups, direction, policies, own_ports).write(block);
}

}  // namespace vmlane::policy
