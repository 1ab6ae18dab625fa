// SPDX-License-Identifier: Apache-2.0
#include "policy/profile.h"

#include <algorithm>
#include <bit>

namespace vmlane::policy {
namespace {

constexpr std::uint32_t kWordBits = 64;
constexpr std::uint32_t kWordBytes = sizeof(std::uint64_t);
constexpr std::size_t kMaxProfileBytes = std::size_t{16} << 20;  // contracts 3.8
constexpr std::size_t kMaxRuleIndex = 0xfffe;                    // 0xffff is none, see connection.h
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

std::uint32_t summary_of(std::uint32_t words) {
  return words > VMLANE_POLICY_PLAIN_WORDS ? (words + kWordBits - 1) / kWordBits : 0;
}

// One bit of the rows. A rule with named ports towards others has one for its numbers, and one for each
// number that the name stands for, met by the peers that have it so.
struct Bit {
  NumberedPolicy policy;
  const Rule* rule = nullptr;
  std::span<const TermId> peers;  // of the rule
  std::optional<TermId> also;     // a term that the peer must meet besides
  std::vector<PortMatch> ports;   // without names
  bool any_port = false;
};

// Rows without repetition.
class Classes {
 public:
  std::uint32_t of(const Row& row) {
    const auto [entry, fresh] = ids_.try_emplace(row, static_cast<std::uint32_t>(rows_.size()));
    if (fresh) rows_.push_back(&entry->first);
    return entry->second;
  }
  std::uint32_t count() const { return static_cast<std::uint32_t>(rows_.size()); }
  const std::vector<const Row*>& rows() const { return rows_; }

 private:
  std::map<Row, std::uint32_t> ids_;
  std::vector<const Row*> rows_;
};

struct GroupClass {
  GroupId group = 0;
  std::uint32_t number = 0;
};

}  // namespace

std::uint32_t PortPages::take(Block& block, const std::vector<std::uint16_t>& classes) {
  if (classes.empty()) return 0;
  std::map<Content, std::uint16_t> pages;
  Content content(kPage);
  std::uint16_t number = 0;
  for (std::size_t page = 0; page < kPage; page++) {
    const auto begin = classes.begin() + static_cast<std::ptrdiff_t>(page * kPage);
    // Most pages are like the one before.
    if (page == 0 || !std::equal(begin, begin + kPage, begin - kPage)) {
      const auto [entry, fresh] = pages.try_emplace(Content(begin, begin + kPage),
                                                    static_cast<std::uint16_t>(content.size() / kPage - 1));
      number = entry->second;
      if (fresh) content.insert(content.end(), entry->first.begin(), entry->first.end());
    }
    content[page] = number;
  }
  const auto [entry, fresh] = shared_.try_emplace(std::move(content));
  entry->second.users++;
  if (!fresh) return entry->second.offset;
  const std::size_t bytes = entry->first.size() * sizeof(std::uint16_t);
  entry->second.offset = block.reserve(bytes);
  if (block.outgrown()) return entry->second.offset;
  std::ranges::copy(entry->first, &block.at<std::uint16_t>(entry->second.offset));
  block.touch(entry->second.offset, bytes);
  by_offset_[entry->second.offset] = entry;
  return entry->second.offset;
}

void PortPages::give_back(Block& block, std::uint32_t offset) {
  const auto found = by_offset_.find(offset);
  if (found == by_offset_.end() || --found->second->second.users > 0) return;
  block.release(offset, found->second->first.size() * sizeof(std::uint16_t));
  shared_.erase(found->second);
  by_offset_.erase(found);
}

class ProfileBuilder {
 public:
  ProfileBuilder(Profile& profile, const PeerGroups& groups, const ProfileRequest& request)
      : profile_(profile), groups_(groups), request_(request) {
    for (const NumberedPolicy& policy : request.policies) {
      const bool of_network = policy.policy().tier == Tier::kNetworkPolicy;
      if (of_network && !policy.policy().isolates_in(request.direction)) continue;
      if (of_network && !policy.audited && !isolating_) isolating_ = policy;
      if (policy.policy().tier == Tier::kBaseline && isolating_) continue;
      add_policy(policy);
      if (profile_.excess_) return;
    }
  }

  void write(Block& block, PortPages& pages) {
    if (bits_.empty() && !isolating_ && !profile_.excess_) return;
    if (!profile_.excess_) build_rows();
    vmlane_policy_profile header{};
    if (profile_.excess_) {
      header.flags = VMLANE_POLICY_PROFILE_TOO_LARGE;
      header.isolated_by = excess_number_;
      reserve(block, sizeof header);
    } else {
      header.flags = isolating_ ? std::uint32_t{VMLANE_POLICY_PROFILE_ISOLATED} : 0;
      header.isolated_by = isolating_ ? isolating_->number : 0;
      write_rows(block, pages, header);
    }
    if (block.outgrown()) return;
    block.at<vmlane_policy_profile>(profile_.offset_) = header;
    block.touch(profile_.offset_, profile_.bytes_);
  }

 private:
  void refuse(const NumberedPolicy& policy, std::string why) {
    profile_.excess_ = {&policy.policy(), std::move(why)};
    excess_number_ = policy.number;
  }

  void add_bit(Bit bit) {
    if (bit.rule->index > kMaxRuleIndex)
      return refuse(bit.policy, "has more than " + std::to_string(kMaxRuleIndex + 1) + " rules");
    if (bits_.size() == VMLANE_POLICY_MAX_RULES) {
      return refuse(bit.policy,
                    "makes more than " + std::to_string(VMLANE_POLICY_MAX_RULES) + " rules for one pod");
    }
    if (bit.policy.policy().tier == Tier::kAdmin) admin_++;
    bits_.push_back(std::move(bit));
  }

  void add_policy(const NumberedPolicy& policy) {
    std::span<const TermId> terms = policy.stored->terms[static_cast<std::size_t>(request_.direction)];
    for (const Rule& rule : policy.policy().rules_of(request_.direction)) {
      const std::span<const TermId> peers = terms.first(rule.peers.size());
      terms = terms.subspan(rule.peers.size());
      if (policy.audited && rule.action == Action::kDeny) continue;
      Bit plain{.policy = policy,
                .rule = &rule,
                .peers = peers,
                .also = {},
                .ports = {},
                .any_port = rule.any_port};
      std::map<TermId, std::vector<PortMatch>> by_term;
      for (const PortMatch& port : rule.ports) {
        if (port.name.empty()) plain.ports.push_back(port);
        for (const ResolvedPort& resolved : request_.ports)
          resolve(port, resolved, resolved.term ? by_term[*resolved.term] : plain.ports);
      }
      const bool any_peer = rule.any_peer || !rule.peers.empty();
      if (any_peer && (plain.any_port || !plain.ports.empty())) add_bit(std::move(plain));
      for (auto& [term, ports] : by_term) {
        if (!any_peer || ports.empty() || profile_.excess_) continue;
        add_bit({.policy = policy,
                 .rule = &rule,
                 .peers = peers,
                 .also = term,
                 .ports = std::move(ports),
                 .any_port = false});
      }
      if (profile_.excess_) return;
    }
  }

  static void resolve(const PortMatch& port, const ResolvedPort& resolved, std::vector<PortMatch>& into) {
    const NamedPort& named = resolved.port;
    if (port.name.empty() || named.name != port.name) return;
    if (port.protocol != 0 && port.protocol != named.protocol) return;
    into.push_back({.protocol = named.protocol, .first = named.number, .last = named.number, .name = {}});
  }

  void build_rows() {
    profile_.words_ = static_cast<std::uint32_t>((bits_.size() + kWordBits - 1) / kWordBits);
    build_peer_rows();
    build_port_rows();
    find_room();
    if (peer_classes_.count() <= VMLANE_POLICY_MAX_CLASSES &&
        port_classes_.count() <= VMLANE_POLICY_MAX_CLASSES && bytes() <= kMaxProfileBytes)
      return;
    refuse(bits_.back().policy, "makes tables of " + std::to_string(bytes()) + " bytes and " +
                                    std::to_string(std::max(peer_classes_.count(), port_classes_.count())) +
                                    " classes for one pod");
  }

  void build_peer_rows() {
    Row any(row_words());
    for (std::uint32_t bit = 0; bit < bits_.size(); bit++) {
      const Bit& one = bits_[bit];
      const TermId also = one.also.value_or(Profile::kNone);
      if (!one.rule->any_peer) {
        for (const TermId term : one.peers) profile_.term_bits_.push_back({term, bit, also});
      } else if (one.also) {
        profile_.term_bits_.push_back({also, bit, Profile::kNone});
      } else {
        set(any, bit);
      }
    }
    std::ranges::sort(profile_.term_bits_);
    profile_.summarize(any);
    profile_.any_ = any;
    peer_classes_.of(any);
    std::vector<GroupId> concerned;
    for (const TermId term : profile_.terms()) {
      const auto with = groups_.with(term);
      concerned.insert(concerned.end(), with.begin(), with.end());
    }
    std::ranges::sort(concerned);
    const auto repeated = std::ranges::unique(concerned);
    concerned.erase(repeated.begin(), repeated.end());
    Row row;
    for (const GroupId group : concerned) {
      profile_.find_row(groups_, group, row);
      const std::uint32_t number = peer_classes_.of(row);
      if (number != 0) group_classes_.push_back({group, number});
    }
  }

  void build_port_rows() {
    Row any(row_words());
    for (std::uint32_t bit = 0; bit < bits_.size(); bit++) {
      if (bits_[bit].any_port) set(any, bit);
    }
    any_port_ = port_class(any);
    for (std::size_t i = 0; i < kPortProtocols.size(); i++)
      build_port_rows(any, kPortProtocols[i], ports_[i]);
  }

  std::uint32_t port_class(Row row) {
    profile_.summarize(row);
    return port_classes_.of(row);
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
      current = port_class(row);
    }
    fill(kPorts);
  }

  std::uint32_t row_words() const { return profile_.words_ + summary_of(profile_.words_); }

  // With room for classes and groups to come. Groups are an array of all or a hash of those with a class,
  // whichever is smaller.
  void find_room() {
    constexpr std::uint32_t kMoreClasses = 8;
    constexpr std::size_t kMoreGroups = 256;
    constexpr std::size_t kLeastEntries = 64;
    profile_.classes_ = profile_.class_room_ = peer_classes_.count();
    if (profile_.term_bits_.empty()) return;
    profile_.class_room_ = std::min<std::uint32_t>(
        std::max(profile_.classes_ + profile_.classes_ / 2 + kMoreClasses, profile_.classes_),
        std::max<std::uint32_t>(VMLANE_POLICY_MAX_CLASSES, profile_.classes_));
    const std::size_t table = std::max(std::bit_ceil(group_classes_.size() * 3 + 1), kLeastEntries);
    const std::size_t array = groups_.count() + groups_.count() / 2 + kMoreGroups;
    if (table * sizeof(vmlane_policy_group_class) < array * sizeof(std::uint16_t)) {
      set_table(table);
    } else {
      profile_.group_mask_ = 0;
      profile_.group_room_ = static_cast<std::uint32_t>(array);
    }
  }

  void set_table(std::size_t size) {
    profile_.group_mask_ = static_cast<std::uint32_t>(size - 1);
    profile_.group_room_ = static_cast<std::uint32_t>(size);
  }

  std::size_t peer_bytes() const { return std::size_t{profile_.class_room_} * row_words() * kWordBytes; }
  std::size_t port_bytes() const { return std::size_t{port_classes_.count()} * row_words() * kWordBytes; }
  std::size_t group_bytes() const {
    const std::size_t entry =
        profile_.group_mask_ != 0 ? sizeof(vmlane_policy_group_class) : sizeof(std::uint16_t);
    return (profile_.group_room_ * entry + kWordBytes - 1) / kWordBytes * kWordBytes;
  }
  std::size_t bytes() const {
    return sizeof(vmlane_policy_profile) + peer_bytes() + port_bytes() + group_bytes() +
           bits_.size() * sizeof(vmlane_policy_rule);
  }

  void reserve(Block& block, std::size_t bytes) {
    profile_.bytes_ = static_cast<std::uint32_t>(bytes);
    profile_.offset_ = block.reserve(bytes);
  }

  void write_rows(Block& block, PortPages& pages, vmlane_policy_profile& header) {
    for (std::size_t i = 0; i < ports_.size(); i++)
      header.pages[i] = profile_.pages_[i] = pages.take(block, ports_[i]);
    do {
      reserve(block, bytes());
      if (block.outgrown()) return;
      place(header);
    } while (!write_groups(block));
    header.rule_count = static_cast<std::uint32_t>(bits_.size());
    header.admin_count = admin_;
    header.words = profile_.words_;
    header.summary = summary_of(profile_.words_);
    header.any_port = any_port_;
    copy_rows(block, header.peer_rows, peer_classes_);
    copy_rows(block, header.port_rows, port_classes_);
    for (std::size_t i = 0; i < bits_.size(); i++) {
      const Bit& bit = bits_[i];
      (&block.at<vmlane_policy_rule>(header.rules))[i] = {
          bit.policy.number, static_cast<std::uint16_t>(bit.rule->index),
          static_cast<std::uint8_t>(bit.rule->action == Action::kAccept ? VMLANE_POLICY_ACCEPT
                                    : bit.rule->action == Action::kDeny ? VMLANE_POLICY_DENY
                                                                        : VMLANE_POLICY_PASS),
          static_cast<std::uint8_t>(bit.policy.policy().tier)};
    }
  }

  void place(vmlane_policy_profile& header) const {
    header.peer_rows = profile_.offset_ + static_cast<std::uint32_t>(sizeof header);
    header.port_rows = header.peer_rows + static_cast<std::uint32_t>(peer_bytes());
    header.groups = header.port_rows + static_cast<std::uint32_t>(port_bytes());
    header.rules = header.groups + static_cast<std::uint32_t>(group_bytes());
    header.group_mask = profile_.group_mask_;
    header.group_count = profile_.group_mask_ != 0 ? ~0U : profile_.group_room_;
    profile_.peer_rows_ = header.peer_rows;
    profile_.groups_ = header.groups;
  }

  // False, with a larger table to try, when a group is not within the steps that a reader takes.
  bool write_groups(Block& block) {
    profile_.group_entries_ = 0;
    for (const GroupClass& one : group_classes_) {
      if (profile_.put_class(block, one.group, one.number)) continue;
      profile_.release(block);
      set_table(std::size_t{profile_.group_room_} * 2);
      return false;
    }
    return true;
  }

  static void copy_rows(Block& block, std::uint32_t offset, const Classes& classes) {
    auto* at = &block.at<std::uint64_t>(offset);
    for (const Row* row : classes.rows()) at = std::ranges::copy(*row, at).out;
  }

  Profile& profile_;
  const PeerGroups& groups_;
  const ProfileRequest& request_;
  std::optional<NumberedPolicy> isolating_;
  std::vector<Bit> bits_;
  std::uint32_t admin_ = 0;
  Classes peer_classes_;
  Classes port_classes_;
  std::vector<GroupClass> group_classes_;  // but for class 0
  std::array<std::vector<std::uint16_t>, kPortProtocols.size()> ports_;
  std::uint32_t any_port_ = 0;
  std::uint32_t excess_number_ = 0;
};

Profile::Profile(Block& block, PortPages& pages, const PeerGroups& groups, const ProfileRequest& request) {
  ProfileBuilder(*this, groups, request).write(block, pages);
}

std::vector<TermId> Profile::terms() const {
  std::vector<TermId> terms;
  for (const TermBit& one : term_bits_) {
    if (terms.empty() || terms.back() != one.term) terms.push_back(one.term);
  }
  return terms;
}

void Profile::summarize(Row& row) const {
  for (std::uint32_t word = words_; word < row.size(); word++) row[word] = 0;
  for (std::uint32_t word = 0; word < words_ && row.size() > words_; word++) {
    if (row[word] != 0) row[words_ + word / kWordBits] |= std::uint64_t{1} << (word % kWordBits);
  }
}

void Profile::find_row(const PeerGroups& groups, GroupId group, Row& row) const {
  row = any_;
  for (const auto& terms : {groups.who(group), groups.where(group)}) {
    for (const TermId term : terms) {
      auto one = std::ranges::lower_bound(term_bits_, term, {}, &TermBit::term);
      for (; one != term_bits_.end() && one->term == term; one++) {
        if (one->also == kNone || groups.meets(group, one->also)) set(row, one->bit);
      }
    }
  }
  summarize(row);
}

std::uint32_t Profile::class_of(const Block& block, GroupId group) const {
  const vmlane_policy_tables tables{block.words().data(),
                                    static_cast<std::uint32_t>(block.words().size_bytes())};
  return vmlane_policy_peer_class(&tables, &block.at<vmlane_policy_profile>(offset_), group);
}

bool Profile::add_group(Block& block, const PeerGroups& groups, GroupId group) {
  if (offset_ == 0 || excess_ || class_of(block, group) != 0) return true;
  Row row;
  find_row(groups, group, row);
  const std::size_t bytes = row.size() * kWordBytes;
  std::uint32_t number = 0;
  for (; number < classes_; number++) {
    const auto* there = &block.at<std::uint64_t>(peer_rows_ + static_cast<std::uint32_t>(number * bytes));
    if (std::equal(row.begin(), row.end(), there)) break;
  }
  if (number == 0) return true;
  if (number == class_room_) return false;
  if (number == classes_) {
    const auto offset = static_cast<std::uint32_t>(peer_rows_ + number * bytes);
    std::ranges::copy(row, &block.at<std::uint64_t>(offset));
    block.touch(offset, bytes);
    classes_++;
  }
  return put_class(block, group, number);
}

bool Profile::put_class(Block& block, GroupId group, std::uint32_t number) {
  if (group_mask_ == 0) {
    if (group >= group_room_) return false;
    const auto offset = static_cast<std::uint32_t>(groups_ + group * sizeof(std::uint16_t));
    block.at<std::uint16_t>(offset) = static_cast<std::uint16_t>(number);
    block.touch(offset, sizeof(std::uint16_t));
    return true;
  }
  const std::uint32_t hash = vmlane_policy_group_hash(group);
  for (std::uint32_t probe = 0; probe < VMLANE_POLICY_MAX_PROBES && group_entries_ < group_mask_; probe++) {
    const std::uint32_t offset = groups_ + ((hash + probe) & group_mask_) * kWordBytes;
    auto& place = block.at<vmlane_policy_group_class>(offset);
    if (place.both != 0) continue;
    place.both = std::uint64_t{number} << 32 | (group + 1);
    block.touch(offset, sizeof place);
    group_entries_++;
    return true;
  }
  return false;
}

bool Profile::is_full(const PeerGroups& groups) const {
  constexpr std::uint32_t kFewClasses = 4;
  constexpr std::uint32_t kFewGroups = 64;
  if (offset_ == 0 || excess_ || term_bits_.empty()) return false;
  if (classes_ + kFewClasses > class_room_) return true;
  if (group_mask_ == 0) return groups.count() + kFewGroups > group_room_;
  return group_entries_ > group_mask_ / 4 * 3;
}

void Profile::release(Block& block) const {
  block.release(offset_, bytes_);
}

void Profile::release(Block& block, PortPages& pages) const {
  release(block);
  for (const std::uint32_t offset : pages_) pages.give_back(block, offset);
}

}  // namespace vmlane::policy
