// SPDX-License-Identifier: Apache-2.0
#include "dataplane/memory.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>
#include <sched.h>

#include <charconv>
#include <vector>

#include "core/files.h"
#include "dataplane/dpdk.h"

namespace vmlane::dataplane {
namespace {

constexpr unsigned kMiB = 1 << 20;
constexpr unsigned kOverhead = 12;  // MiB of rings, of lib/vhost and of DPDK itself
constexpr unsigned kBufferBytes = RTE_MBUF_DEFAULT_BUF_SIZE + sizeof(rte_mbuf) + RTE_CACHE_LINE_SIZE;

unsigned mebibytes(const MemoryOptions& options) {
  return static_cast<unsigned>(std::uint64_t{options.buffers} * kBufferBytes / kMiB) + kOverhead;
}

unsigned free_huge_mebibytes() {
  constexpr unsigned kPage = 2;
  const auto text = read_file("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
  unsigned pages = 0;
  if (text && *text) std::from_chars((*text)->data(), (*text)->data() + (*text)->size(), pages);
  return pages * kPage;
}

Result<bool> choose_huge(const MemoryOptions& options) {
  const unsigned free = free_huge_mebibytes();
  const unsigned wanted = mebibytes(options);
  if (options.pages == Pages::kNormal) return false;
  if (free >= wanted) return true;
  if (options.pages == Pages::kAuto) return false;
  return fail(Code::kNotAvailable,
              "huge pages are wanted: " + std::to_string(wanted) + " MiB, and " + std::to_string(free) +
                  " MiB of 2 MiB pages are free",
              "reserve more by sysctl vm.nr_hugepages, or let the switch use normal pages (--pages auto)");
}

// The CPUs that this thread may use, so that DPDK does not bind it to one.
std::string own_cpus() {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  ::sched_getaffinity(0, sizeof cpus, &cpus);
  std::string list;
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (CPU_ISSET(cpu, &cpus)) list += (list.empty() ? "" : ",") + std::to_string(cpu);
  }
  return list;
}

std::vector<std::string> arguments(const MemoryOptions& options, bool huge) {
  std::vector<std::string> list = {"vmlane-switch",  "--no-pci", "--no-telemetry",
                                   "--iova-mode=va", "--lcores", "0@(" + own_cpus() + ")"};
  list.insert(list.end(), {"--log-level=warning", "-m", std::to_string(mebibytes(options))});
  // Either way without files that a second process would map.
  if (huge) {
    list.emplace_back("--in-memory");
  } else {
    list.insert(list.end(), {"--no-huge", "--no-shconf"});
  }
  return list;
}

// As rte_pktmbuf_pool_create does, but for one thing: no device reads the buffers, so they may cross a page.
// Of normal pages each would take one for itself otherwise.
rte_mempool* make_pool(unsigned buffers) {
  constexpr unsigned kCache = 256;
  constexpr unsigned kElement = sizeof(rte_mbuf) + RTE_MBUF_DEFAULT_BUF_SIZE;
  rte_mempool* pool =
      rte_mempool_create_empty("frames", buffers, kElement, kCache, sizeof(rte_pktmbuf_pool_private),
                               SOCKET_ID_ANY, RTE_MEMPOOL_F_NO_IOVA_CONTIG);
  if (pool == nullptr) return nullptr;
  rte_pktmbuf_pool_private about{};
  about.mbuf_data_room_size = RTE_MBUF_DEFAULT_BUF_SIZE;
  rte_pktmbuf_pool_init(pool, &about);
  if (rte_mempool_populate_default(pool) < 0) {
    rte_mempool_free(pool);
    return nullptr;
  }
  rte_mempool_obj_iter(pool, rte_pktmbuf_init, nullptr);
  return pool;
}

}  // namespace

Result<rte_mempool*> start_memory(const MemoryOptions& options) {
  VMLANE_ASSIGN(const bool huge, choose_huge(options));
  std::vector<std::string> list = arguments(options, huge);
  std::vector<char*> argv;
  for (std::string& argument : list) argv.push_back(argument.data());
  if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0) {
    return fail(Code::kNotAvailable, "DPDK does not start: " + std::string(rte_strerror(rte_errno)),
                "its own words are on standard error");
  }
  rte_mempool* pool = make_pool(options.buffers);
  if (pool == nullptr) {
    return fail(Code::kNotAvailable,
                "no memory for " + std::to_string(options.buffers) +
                    " buffers: " + std::string(rte_strerror(rte_errno)),
                "ask for fewer (--buffers) or give the switch more memory");
  }
  return pool;
}

}  // namespace vmlane::dataplane
