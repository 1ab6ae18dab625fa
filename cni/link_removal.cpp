// SPDX-License-Identifier: Apache-2.0
#include "cni/link_removal.h"

#include <chrono>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

namespace vmlane::cni {
namespace {

constexpr auto kRemovalPoll = std::chrono::microseconds(100);

// No value where the process may have no thread more.
std::optional<std::future<Result<>>> in_a_thread(std::shared_ptr<netlink::Netlink> links,
                                                 const LinkRemovals::Removal& removal) {
  try {
    return std::async(std::launch::async, [links = std::move(links), removal] { return removal(*links); });
  } catch (const std::system_error&) {
    return std::nullopt;
  }
}

}  // namespace

Result<> LinkRemovals::start(Kernel& kernel, const netlink::Namespace& where, int index,
                             const Removal& removal) {
  VMLANE_ASSIGN(std::shared_ptr<netlink::Netlink> links, kernel.netlink(where));
  VMLANE_ASSIGN(const auto watcher, kernel.netlink(where));
  auto answer = in_a_thread(links, removal);
  if (!answer) return removal(*links);
  while (answer->wait_for(kRemovalPoll) != std::future_status::ready) {
    VMLANE_ASSIGN(const auto link, watcher->find_link(index));
    if (link) continue;
    under_way_.push_back(std::move(*answer));
    return {};
  }
  return answer->get();
}

}  // namespace vmlane::cni
