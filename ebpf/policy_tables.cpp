// SPDX-License-Identifier: Apache-2.0
#include "ebpf/policy_tables.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/random.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <utility>

#include "ebpf/libbpf_error.h"
#include "ebpf/policy_entries.h"
#include "ebpf/policy_maps.h"
#include "ebpf/policy_programs.h"
#include "ebpf/policy_takeover.h"
#include "ebpf/workload_layout.bpf.h"
#include "policy/connection.h"
#include "policy/reason_names.h"
#include "policy/subject.h"

namespace vmlane::ebpf {
namespace {

Result<Fd> make_lines(std::size_t bytes) {
  return make_map(BPF_MAP_TYPE_ARRAY, "vmlane_lines", sizeof(std::uint32_t), VMLANE_POLICY_LINE,
                  (bytes + VMLANE_POLICY_LINE - 1) / VMLANE_POLICY_LINE, BPF_F_INNER_MAP | BPF_F_MMAPABLE);
}

Result<Fd> make_counters(std::size_t entries) {
  return make_map(BPF_MAP_TYPE_HASH, "vmlane_counts", sizeof(vmlane_policy_counter_key),
                  sizeof(vmlane_policy_counter), entries, BPF_F_NO_PREALLOC);
}

IpAddress address_of(const std::uint32_t* words, bool v6) {
  constexpr int kByteBits = 8;
  constexpr int kTopByte = 24;
  IpAddress address{.v6 = v6};
  for (std::size_t i = 0; i < (v6 ? 16U : 4U); i++)
    address.bytes[i] = static_cast<std::uint8_t>(words[i / 4] >> (kTopByte - kByteBits * (i % 4)));
  return address;
}

std::uint32_t stage_reason(const vmlane_policy_event& event) {
  return event.reason & ~std::uint32_t{VMLANE_POLICY_EVENT_AUDITED};
}

PolicyTuple opened_tuple(const vmlane_connection& entry) {
  const bool v6 = (entry.kind & VMLANE_CONNECTION_V6) != 0;
  const IpAddress local = address_of(entry.local, v6);
  const IpAddress remote = address_of(entry.remote, v6);
  if ((entry.flags & VMLANE_CONNECTION_INGRESS) != 0)
    return {remote, local, entry.remote_port, entry.local_port, entry.protocol};
  return {local, remote, entry.local_port, entry.remote_port, entry.protocol};
}

PolicyConnection connection_of(const vmlane_connection& entry, std::string attachment_id, std::uint32_t now) {
  constexpr std::uint64_t kNanoseconds = 1'000'000'000;
  const std::uint64_t idle = vmlane_connection_idle(&entry, now);
  PolicyConnection connection{std::move(attachment_id),
                              opened_tuple(entry),
                              (entry.flags & VMLANE_CONNECTION_INGRESS) != 0,
                              std::string(policy::connection_state_name(entry)),
                              std::chrono::seconds((idle << VMLANE_CONNECTION_TICK_BITS) / kNanoseconds),
                              std::nullopt,
                              std::nullopt};
  if (entry.rule != VMLANE_CONNECTION_NO_RULE) {
    connection.policy = entry.policy;
    connection.rule = entry.rule;
  }
  return connection;
}

}  // namespace

class PolicyTables::Contents {
 public:
  Contents(std::filesystem::path run_dir, PolicyPrograms programs)
      : run_dir_(std::move(run_dir)), programs_(std::move(programs)) {}
  ~Contents() {
    if (ring_ != nullptr) ring_buffer__free(ring_);
  }
  Contents(const Contents&) = delete;
  Contents& operator=(const Contents&) = delete;

  Result<> map_small() {
    VMLANE_ASSIGN(state_, map_memory(map(PolicyMap::kState), "the state of policy"));
    VMLANE_ASSIGN(subjects_, map_memory(map(PolicyMap::kSubjects), "the workloads of policy"));
    return {};
  }

  Result<> make_missing(const PolicySizes& sizes) {
    sizes_ = sizes;
    state().layout = VMLANE_POLICY_LAYOUT;
    VMLANE_ASSIGN(const auto others, other_policy_builds(run_dir_, programs_));
    others_generation_ = highest_generation(others);
    VMLANE_TRY(share_connections(others, programs_));
    VMLANE_ASSIGN(spare_, make_lines(VMLANE_POLICY_LINE));
    VMLANE_TRY(make_connections());
    if (!inner_map(map(PolicyMap::kCounters), kOnlyKey)) VMLANE_TRY(renew_counters());
    if (inner_map(map(PolicyMap::kEvents), kOnlyKey)) return {};
    VMLANE_ASSIGN(const Fd ring, make_map(BPF_MAP_TYPE_RINGBUF, "vmlane_ring", 0, 0, sizes_.event_bytes, 0));
    return put_inner(map(PolicyMap::kEvents), kOnlyKey, ring);
  }

  std::uint64_t epoch() const { return std::atomic_ref(state().epoch).load(std::memory_order_acquire); }
  std::uint64_t generation() const { return std::max(epoch() >> 1, others_generation_); }

  Result<> adopt(const PolicyEndpoints& endpoints) { return adopt_workloads(run_dir_, programs_, endpoints); }
  Result<> move_links(const PolicyNamespaces& namespaces) {
    return move_policy_links(run_dir_, programs_, namespaces);
  }

  Result<> publish(std::uint64_t generation, std::span<const std::uint64_t> block,
                   const PolicyEndpoints& endpoints) {
    VMLANE_TRY(refuse_old(generation));
    const std::uint64_t before = epoch();
    const auto slot = static_cast<std::uint32_t>(before == 0 ? 0 : (before & 1) ^ 1);
    VMLANE_ASSIGN(const Fd lines, make_lines(block.size_bytes()));
    VMLANE_ASSIGN(const Mapping memory, map_memory(lines.get(), "tables of policy"));
    std::ranges::copy(block, memory.as<std::uint64_t>().begin());
    VMLANE_TRY(put_inner(map(PolicyMap::kTables), slot, lines));
    VMLANE_TRY(renew_counters());
    number(slot, endpoints);
    put_in_force(generation << 1 | slot);
    VMLANE_TRY(wait());
    const std::uint32_t old = slot ^ 1;
    if (bpf_map_delete_elem(map(PolicyMap::kTables), &old) != 0 && errno != ENOENT)
      return fail(libbpf_error("cannot drop the tables that were in force", errno));
    return {};
  }

  Result<> change(std::uint64_t generation, std::size_t phases,
                  const std::function<void(std::size_t, std::span<std::uint64_t>)>& write) {
    VMLANE_TRY(refuse_old(generation));
    const std::uint64_t before = epoch();
    const auto slot = static_cast<std::uint32_t>(before & 1);
    const Fd lines = before == 0 ? Fd() : inner_map(map(PolicyMap::kTables), slot);
    if (!lines) return fail(Code::kConflict, "there are no tables in force that could be changed");
    VMLANE_ASSIGN(const Mapping memory, map_memory(lines.get(), "the tables in force"));
    for (std::size_t phase = 0; phase < phases; phase++) {
      write(phase, memory.as<std::uint64_t>());
      VMLANE_TRY(wait());
    }
    put_in_force(generation << 1 | slot);
    return {};
  }

  Result<> assign(const PolicyEndpoints& endpoints) {
    if (epoch() == 0) return fail(Code::kConflict, "there are no tables in force");
    number(static_cast<std::uint32_t>(epoch() & 1), endpoints);
    return {};
  }

  bool holds(std::uint64_t generation, std::span<const std::uint64_t> block,
             const PolicyEndpoints& endpoints) const {
    const std::uint64_t now = epoch();
    const auto slot = static_cast<std::uint32_t>(now & 1);
    if (now >> 1 != generation) return false;
    const Fd lines = inner_map(map(PolicyMap::kTables), slot);
    const auto memory = lines ? map_memory(lines.get(), "the tables in force") : Mapping();
    if (!memory) return false;
    const auto words = memory->as<std::uint64_t>();
    if (words.size() < block.size() || !std::ranges::equal(words.first(block.size()), block)) return false;
    return std::ranges::all_of(keys(), [&](const auto& entry) {
      const vmlane_policy_workload& workload = subject(entry.second);
      // What an earlier holder of the key was counts for nothing.
      const bool counts = workload.endpoint[slot] >> kUpper == workload.incarnation;
      return (counts ? workload.endpoint[slot] : 0) == number_of(entry.first, entry.second, endpoints);
    });
  }

  std::map<std::string, std::uint32_t> keys() const { return policy_keys(map(PolicyMap::kOwners)); }
  std::optional<vmlane_policy_owner> owner(std::uint32_t key) const {
    return policy_owner(map(PolicyMap::kOwners), key);
  }
  std::uint32_t incarnation(std::uint32_t key) const { return subject(key).incarnation; }

  Fd counters() const { return inner_map(map(PolicyMap::kCounters), kOnlyKey); }
  std::uint32_t uncounted() const {
    return std::atomic_ref(state().uncounted).load(std::memory_order_relaxed);
  }

  // The memory of the connections; empty when there are none.
  Mapping connections() const {
    const Fd sets = inner_map(map(PolicyMap::kConnections), kOnlyKey);
    if (!sets) return {};
    auto memory = map_memory(sets.get(), "the connections");
    return memory ? std::move(*memory) : Mapping();
  }

  // Workloads by what their connections are told by.
  std::map<std::uint32_t, std::string> incarnations(const std::optional<std::string>& attachment_id) const {
    std::map<std::uint32_t, std::string> found;
    for (const auto& [id, key] : keys()) {
      if (!attachment_id || *attachment_id == id) found[incarnation(key)] = id;
    }
    return found;
  }

  Result<> drops(std::chrono::milliseconds timeout, const std::function<void(const PolicyDrop&)>& take) {
    if (ring_ == nullptr) {
      ring_map_ = inner_map(map(PolicyMap::kEvents), kOnlyKey);
      if (!ring_map_) return fail(Code::kNotFound, "nobody has published policy on this node");
      ring_ = ring_buffer__new(ring_map_.get(), &Contents::on_event, this, nullptr);
      if (ring_ == nullptr) return fail(libbpf_error("cannot read the events of policy", errno));
    }
    take_ = &take;
    const int result = ring_buffer__poll(ring_, static_cast<int>(timeout.count()));
    take_ = nullptr;
    if (result < 0 && result != -EINTR)
      return fail(libbpf_error("cannot wait for events of policy", -result));
    return {};
  }

 private:
  int map(PolicyMap which) const { return programs_.map(which); }
  vmlane_policy_state& state() const { return state_.as<vmlane_policy_state>().front(); }
  vmlane_policy_workload& subject(std::uint32_t key) const {
    return subjects_.as<vmlane_policy_workload>()[key];
  }

  Result<> make_connections() {
    if (inner_map(map(PolicyMap::kConnections), kOnlyKey)) return {};
    const std::size_t sets =
        std::bit_ceil(std::max<std::size_t>(sizes_.connections, VMLANE_CONNECTION_WAYS)) /
        VMLANE_CONNECTION_WAYS;
    VMLANE_ASSIGN(const Fd map_of_sets,
                  make_map(BPF_MAP_TYPE_ARRAY, "vmlane_sets", sizeof(std::uint32_t),
                           sizeof(vmlane_connection_set), sets, BPF_F_INNER_MAP | BPF_F_MMAPABLE));
    std::uint32_t seed = 0;
    if (::getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
      return fail(kernel_error("cannot get a random number", errno));
    state().seed = seed;
    state().connection_mask = static_cast<std::uint32_t>(sets - 1);
    return put_inner(map(PolicyMap::kConnections), kOnlyKey, map_of_sets);
  }

  Result<> renew_counters() {
    VMLANE_ASSIGN(const Fd counters, make_counters(sizes_.counters));
    VMLANE_TRY(put_inner(map(PolicyMap::kCounters), kOnlyKey, counters));
    std::atomic_ref(state().uncounted).store(0, std::memory_order_relaxed);
    return {};
  }

  Result<> refuse_old(std::uint64_t generation) const {
    if (generation > this->generation() && generation >> 63 == 0) return {};
    return fail(Code::kConflict, "generation " + std::to_string(generation) +
                                     " of tables is not above the one in force, " +
                                     std::to_string(this->generation()));
  }

  void put_in_force(std::uint64_t epoch) {
    std::atomic_ref(state().epoch).store(epoch, std::memory_order_release);
  }

  // The kernel waits in each update of a map of maps.
  Result<> wait() { return put_inner(map(PolicyMap::kTables), VMLANE_POLICY_SPARE_SLOT, spare_); }

  // What the stage reads as the workload's endpoint: it counts for this incarnation of the key alone.
  static constexpr int kUpper = 32;
  std::uint64_t number_of(const std::string& id, std::uint32_t key, const PolicyEndpoints& endpoints) const {
    const auto found = endpoints.find(id);
    if (found == endpoints.end()) return 0;
    return std::uint64_t{incarnation(key)} << kUpper | (std::uint64_t{found->second} + 1);
  }

  void number(std::uint32_t slot, const PolicyEndpoints& endpoints) {
    const std::uint32_t loose = now_in_ticks() + VMLANE_CONNECTION_SECONDS(VMLANE_STAGE_LOOSE_SECONDS) + 1;
    for (const auto& [id, key] : keys()) {
      vmlane_policy_workload& workload = subject(key);
      const std::uint64_t number = number_of(id, key, endpoints);
      const bool was_known = workload.endpoint[epoch() & 1] >> kUpper == workload.incarnation;
      // What went through unjudged may have connections that nobody noted.
      if (number != 0 && !was_known && (workload.flags & VMLANE_STAGE_DENY) == 0)
        workload.loose_until = loose;
      std::atomic_ref(workload.endpoint[slot]).store(number, std::memory_order_release);
    }
  }

  static int on_event(void* self, void* data, std::size_t size) {
    if (size >= sizeof(vmlane_policy_event))
      static_cast<Contents*>(self)->tell(*static_cast<const vmlane_policy_event*>(data));
    return 0;
  }

  void tell(const vmlane_policy_event& event) const {
    PolicyDrop drop;
    drop.time = std::chrono::nanoseconds(event.time);
    const auto whose = owner(event.key);
    if (whose && incarnation(event.key) == event.incarnation) drop.attachment_id = attachment_of(*whose);
    drop.packet = {address_of(event.source, event.v6 != 0), address_of(event.destination, event.v6 != 0),
                   event.source_port, event.destination_port, event.protocol};
    drop.ingress = event.direction == VMLANE_POLICY_INGRESS;
    drop.reason = policy::drop_reason_name(stage_reason(event), event.verdict_reason);
    drop.audit = (event.reason & VMLANE_POLICY_EVENT_AUDITED) != 0;
    const bool by_policy =
        stage_reason(event) == VMLANE_STAGE_BY_POLICY && policy::names_a_policy(event.verdict_reason);
    if (by_policy) drop.policy = event.policy;
    if (by_policy && event.rule != VMLANE_POLICY_NO_RULE) drop.rule = event.rule;
    drop.generation = event.generation;
    (*take_)(drop);
  }

  std::filesystem::path run_dir_;
  PolicyPrograms programs_;
  std::uint64_t others_generation_ = 0;  // of other builds; connections were judged by it
  PolicySizes sizes_;
  Mapping state_;
  Mapping subjects_;
  Fd spare_;
  Fd ring_map_;
  ring_buffer* ring_ = nullptr;
  const std::function<void(const PolicyDrop&)>* take_ = nullptr;
};

PolicyTables::PolicyTables(std::unique_ptr<Contents> contents) : contents_(std::move(contents)) {}
PolicyTables::PolicyTables(PolicyTables&&) noexcept = default;
PolicyTables& PolicyTables::operator=(PolicyTables&&) noexcept = default;
PolicyTables::~PolicyTables() = default;

Result<PolicyTables> PolicyTables::open(const NodeConfig& node, const PolicySizes& sizes) {
  silence_libbpf();
  VMLANE_ASSIGN(PolicyPrograms programs, policy_programs(node));
  auto contents = std::make_unique<Contents>(node.run_dir, std::move(programs));
  VMLANE_TRY(contents->map_small());
  VMLANE_TRY(contents->make_missing(sizes));
  return PolicyTables(std::move(contents));
}

Result<PolicyTables> PolicyTables::look(const std::filesystem::path& run_dir) {
  silence_libbpf();
  VMLANE_ASSIGN(auto builds, all_policy_programs(run_dir));
  if (builds.empty())
    return fail(Code::kNotFound, "no workload of this node has policy on its link",
                "run directory " + run_dir.string());
  // While one build takes over from another, the one that publishes.
  const auto generation = [](const PolicyPrograms& build) { return highest_generation({&build, 1}); };
  auto contents =
      std::make_unique<Contents>(run_dir, std::move(*std::ranges::max_element(builds, {}, generation)));
  VMLANE_TRY(contents->map_small());
  return PolicyTables(std::move(contents));
}

std::uint64_t PolicyTables::generation() const {
  return contents_->generation();
}

Result<> PolicyTables::publish(std::uint64_t generation, std::span<const std::uint64_t> block,
                               const PolicyEndpoints& endpoints) {
  silence_libbpf();
  return contents_->publish(generation, block, endpoints);
}

Result<> PolicyTables::change(
    std::uint64_t generation, std::size_t phases,
    const std::function<void(std::size_t phase, std::span<std::uint64_t> block)>& write) {
  silence_libbpf();
  return contents_->change(generation, phases, write);
}

Result<> PolicyTables::assign(const PolicyEndpoints& endpoints) {
  silence_libbpf();
  return contents_->assign(endpoints);
}

bool PolicyTables::holds(std::uint64_t generation, std::span<const std::uint64_t> block,
                         const PolicyEndpoints& endpoints) const {
  return contents_->holds(generation, block, endpoints);
}

Result<> PolicyTables::adopt(const PolicyEndpoints& endpoints) {
  silence_libbpf();
  return contents_->adopt(endpoints);
}

Result<> PolicyTables::move_links(const PolicyNamespaces& namespaces) {
  silence_libbpf();
  return contents_->move_links(namespaces);
}

std::vector<std::string> PolicyTables::workloads() const {
  std::vector<std::string> ids;
  for (const auto& [id, key] : contents_->keys()) ids.push_back(id);
  return ids;
}

std::optional<PolicyStatus> PolicyTables::status(const std::string& attachment_id) const {
  const auto keys = contents_->keys();
  const auto key = keys.find(attachment_id);
  const auto owner = key == keys.end() ? std::nullopt : contents_->owner(key->second);
  if (!owner) return std::nullopt;
  PolicyStatus status{.untold = owner->untold, .loose = owner->loose};
  for (std::size_t reason = 1; reason < policy::kStageReasons.size(); reason++)
    status.dropped.emplace_back(policy::kStageReasons[reason], owner->dropped[reason]);
  return status;
}

std::vector<PolicyCount> PolicyTables::counters() const {
  std::vector<PolicyCount> counts;
  const Fd map = contents_->counters();
  vmlane_policy_counter_key key{};
  vmlane_policy_counter value{};
  const vmlane_policy_counter_key* previous = nullptr;
  while (map && bpf_map_get_next_key(map.get(), previous, &key) == 0) {
    previous = &key;
    if (bpf_map_lookup_elem(map.get(), &key, &value) != 0) continue;
    const std::uint32_t direction = key.direction & ~std::uint32_t{VMLANE_POLICY_COUNT_AUDITED};
    PolicyCount count{.policy = key.policy,
                      .rule = {},
                      .ingress = direction == VMLANE_POLICY_INGRESS,
                      .audit = direction != key.direction,
                      .hits = value.hits,
                      .last = std::chrono::nanoseconds(value.last)};
    if (key.rule != VMLANE_POLICY_NO_RULE) count.rule = key.rule;
    counts.push_back(count);
  }
  return counts;
}

std::uint32_t PolicyTables::uncounted() const {
  return contents_->uncounted();
}

std::vector<PolicyConnection> PolicyTables::connections(
    const std::optional<std::string>& attachment_id) const {
  std::vector<PolicyConnection> found;
  const auto whose = contents_->incarnations(attachment_id);
  const Mapping memory = contents_->connections();
  const std::uint32_t now = now_in_ticks();
  for (const vmlane_connection_set& set : memory.as<vmlane_connection_set>()) {
    for (std::uint32_t way = 0; way < VMLANE_CONNECTION_WAYS; way++) {
      const vmlane_connection& entry = set.way[way];
      if (vmlane_connection_read_tag(&set, way) < 2 || vmlane_connection_is_over(&entry, now) != 0) continue;
      const auto owner = whose.find(entry.owner);
      if (owner != whose.end()) found.push_back(connection_of(entry, owner->second, now));
    }
  }
  return found;
}

std::size_t PolicyTables::flush(const std::optional<std::string>& attachment_id) {
  std::size_t flushed = 0;
  const auto whose = contents_->incarnations(attachment_id);
  const Mapping memory = contents_->connections();
  const std::uint32_t now = now_in_ticks();
  for (vmlane_connection_set& set : memory.as<vmlane_connection_set>()) {
    for (std::uint32_t way = 0; way < VMLANE_CONNECTION_WAYS; way++) {
      std::uint32_t tag = vmlane_connection_read_tag(&set, way);
      if (tag < 2 || !whose.contains(set.way[way].owner)) continue;
      flushed += vmlane_connection_is_over(&set.way[way], now) == 0 ? 1 : 0;
      std::atomic_ref(set.tag[way]).compare_exchange_strong(tag, VMLANE_CONNECTION_FREE);
    }
  }
  return flushed;
}

Result<> PolicyTables::drops(std::chrono::milliseconds timeout,
                             const std::function<void(const PolicyDrop&)>& take) {
  silence_libbpf();
  return contents_->drops(timeout, take);
}

}  // namespace vmlane::ebpf
