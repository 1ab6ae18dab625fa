// SPDX-License-Identifier: Apache-2.0
#include "ebpf/ingress.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "ebpf/libbpf_error.h"
#include "ebpf/program.h"
#include "netlink/bpf_filter.h"
#include "netlink/namespace.h"

namespace vmlane::ebpf {
namespace {

// The kernel's BPF_TCX_INGRESS, which headers before 6.6 lack.
constexpr auto kTcxIngress = static_cast<bpf_attach_type>(46);
constexpr int kLoopbackIndex = 1;  // in every namespace

std::string subject(int index) {
  return "the ingress of link with index " + std::to_string(index);
}

Result<> attach_tcx(int index, int program_fd) {
  if (const int error = bpf_prog_attach_opts(program_fd, index, kTcxIngress, nullptr); error != 0) {
    Error refused = libbpf_error("cannot attach a program by TCX to " + subject(index), -error);
    if (error == -ENODEV) refused.code = Code::kNotFound;
    return fail(std::move(refused));
  }
  return {};
}

Result<> attach_clsact(int index, int program_fd) {
  VMLANE_ASSIGN(const auto here, netlink::Namespace::current());
  return netlink::set_bpf_filter(here, index, netlink::Direction::kIngress,
                                 {.program = program_fd, .name = "vmlane"});
}

// Appends the ids of all programs that TCX has there.
Result<> query_tcx(int index, std::vector<std::uint32_t>& ids) {
  struct bpf_prog_query_opts options {};
  options.sz = sizeof(options);
  // A program that comes between the two queries makes the second fail with ENOSPC.
  for (;;) {
    options.prog_ids = nullptr;
    int error = bpf_prog_query_opts(index, kTcxIngress, &options);
    std::vector<std::uint32_t> found(options.prog_cnt);
    if (error == 0 && !found.empty()) {
      options.prog_ids = found.data();
      error = bpf_prog_query_opts(index, kTcxIngress, &options);
    }
    if (error == -ENOSPC) continue;
    if (error != 0) return fail(libbpf_error("cannot query TCX on " + subject(index), -error));
    found.resize(options.prog_cnt);
    ids.insert(ids.end(), found.begin(), found.end());
    return {};
  }
}

Result<> query_clsact(int index, std::vector<std::uint32_t>& ids) {
  VMLANE_ASSIGN(const auto here, netlink::Namespace::current());
  VMLANE_ASSIGN(const auto filter, netlink::bpf_filter(here, index, netlink::Direction::kIngress));
  if (filter) ids.push_back(filter->program_id);
  return {};
}

}  // namespace

bool has_tcx() {
  silence_libbpf();
  struct bpf_prog_query_opts options {};
  options.sz = sizeof(options);
  return bpf_prog_query_opts(kLoopbackIndex, kTcxIngress, &options) == 0;
}

Result<> attach_to_ingress(int index, int program_fd, Attach attach) {
  return attach == Attach::kTcx ? attach_tcx(index, program_fd) : attach_clsact(index, program_fd);
}

Result<std::vector<std::uint32_t>> programs_on_ingress(int index) {
  std::string name(IF_NAMESIZE, '\0');
  if (if_indextoname(static_cast<unsigned>(index), name.data()) == nullptr) {
    return fail(Code::kNotFound, "link with index " + std::to_string(index) + " is gone");
  }
  std::vector<std::uint32_t> ids;
  if (has_tcx()) VMLANE_TRY(query_tcx(index, ids));
  VMLANE_TRY(query_clsact(index, ids));
  return ids;
}

Result<> attach_by_either(const std::function<Result<>(Attach)>& attach) {
  auto attached = attach(Attach::kClsact);
  if (attached || !has_tcx()) return attached;
  return attach(Attach::kTcx);
}

Result<> expect_on_ingress(int index, const std::function<bool(std::uint32_t program_id)>& is_wanted,
                           const std::string& what) {
  const auto programs = programs_on_ingress(index);
  if (!programs && programs.error().code == Code::kNotFound)
    return fail(Code::kChanged, programs.error().message);
  if (!programs) return fail(programs.error());
  if (std::ranges::any_of(*programs, is_wanted)) return {};
  return fail(Code::kChanged, link_text(index) + " has no " + what);
}

}  // namespace vmlane::ebpf
