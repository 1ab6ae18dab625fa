// SPDX-License-Identifier: Apache-2.0
#include "agent/kernel_sink.h"

namespace vmlane::agent {
namespace {

ebpf::PolicyEndpoints endpoints_of(const Generation& generation) {
  ebpf::PolicyEndpoints endpoints;
  for (const JudgedAttachment& attachment : generation.attachments)
    endpoints[attachment.record.key.id()] = attachment.endpoint;
  return endpoints;
}

ebpf::PolicyNamespaces namespaces_of(const Generation& generation) {
  ebpf::PolicyNamespaces namespaces;
  for (const JudgedAttachment& attachment : generation.attachments)
    namespaces[attachment.record.key.id()] = attachment.record.netns.path;
  return namespaces;
}

}  // namespace

Result<> KernelSink::open() {
  constexpr std::chrono::seconds kRetry{30};
  if (tables_) return {};
  const auto now = std::chrono::steady_clock::now();
  if (failure_ && now < retry_) return fail(*failure_);
  auto tables = ebpf::PolicyTables::open(node_);
  if (!tables) {
    failure_ = tables.error().wrap("the kernel cannot be given policy");
    retry_ = now + kRetry;
    return fail(*failure_);
  }
  tables_.emplace(std::move(*tables));
  return {};
}

std::uint64_t KernelSink::published() {
  return open() ? tables_->generation() : 0;
}

std::vector<Error> KernelSink::problems() const {
  std::vector<Error> found;
  if (tables_ && tables_->uncounted() > 0) {
    found.push_back(
        {Code::kKernel, "the kernel's table of policy counters is full: some verdicts are not counted",
         "every packet is judged as ever; \"vmlanectl policy counters\" and its --unused show too "
         "little until tables are published as a whole again",
         nullptr});
  }
  return found;
}

Result<> KernelSink::publish(const Generation& generation) {
  VMLANE_TRY(open());
  VMLANE_TRY(tables_->adopt(endpoints_of(generation)));
  VMLANE_TRY(publish_tables(generation));
  return tables_->move_links(namespaces_of(generation));
}

bool KernelSink::holds(const Generation& generation) {
  if (whole_ || !tables_) return true;  // the next one is whole as it is
  whole_ = !tables_->holds(generation.number, generation.tables.block, endpoints_of(generation));
  return !whole_;
}

Result<> KernelSink::publish_tables(const Generation& generation) {
  if (!whole_ && !generation.tables.whole) {
    const auto changed = publish_changes(generation);
    whole_ = !changed.has_value();
    return changed;
  }
  whole_ = true;
  if (take_counts_) take_counts_(tables_->counters(), generation.number);
  const auto published =
      tables_->publish(generation.number, generation.tables.block, endpoints_of(generation));
  // It may have come in spite of an error after that.
  if (counts_taken_) counts_taken_(tables_->generation() >= generation.number);
  whole_ = !published.has_value();
  return published;
}

Result<> KernelSink::publish_changes(const Generation& generation) {
  const auto& phases = generation.tables.phases;
  if (!phases.empty()) {
    VMLANE_TRY(tables_->change(generation.number, phases.size(),
                               [&phases](std::size_t phase, std::span<std::uint64_t> block) {
                                 policy::write_phase(block, phases[phase]);
                               }));
  }
  return tables_->assign(endpoints_of(generation));
}

}  // namespace vmlane::agent
