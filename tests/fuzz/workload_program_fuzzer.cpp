// SPDX-License-Identifier: Apache-2.0
// Frames from and to a guest (guest_frame.h, behind the guard's flags in two bytes and a third) for the
// program on its link, source guard and answers, as it stands in ebpf/: what it says does not depend on where
// an skb is split, its short cut takes nothing that the guard would not, and it answers as the native build
// does.
#include <linux/pkt_cls.h>

#include <cstring>

#include "answers/native.h"
#include "tests/fuzz/guest_frame.h"
#include "tests/fuzz/kernel_frame.h"

namespace vmlane::fuzz {
namespace {

constexpr int kRedirect = 7;  // TC_ACT_REDIRECT
constexpr std::size_t kMaxLinear = 256;

void put_ip(const IpAddress& address, void* to) {
  std::memcpy(to, address.bytes.data(), address.v6 ? 16 : 4);
}

// The guest of the examples, guarded as `flags` say.
WorkloadMaps maps_for(const vmlane_answers& answers, std::uint32_t flags) {
  WorkloadMaps maps;
  maps.answers = answers;
  maps.answers.ra_interval = 0;
  maps.guard.flags = flags | VMLANE_GUARD_ANSWERS;
  maps.guard.mac_count = 1;
  std::memcpy(maps.guard.macs[0], test::kAskingGuest.bytes.data(), 6);
  maps.plain.look_at = VMLANE_LOOK_NEVER;
  if ((flags & VMLANE_GUARD_LEARNS) != 0) {
    std::memcpy(maps.plain.mac, maps.guard.macs[0], 6);
    maps.plain.flags = VMLANE_PLAIN_LEARNS;
    return maps;
  }
  maps.guard.ipv4_count = maps.guard.ipv6_count = 1;
  put_ip(test::ip("192.0.2.10"), &maps.guard.ipv4[0].address);
  maps.guard.ipv4[0].mask = 0xffffffff;
  put_ip(test::ip("2001:db8::10"), maps.guard.ipv6[0].address);
  std::memset(maps.guard.ipv6[0].mask, 0xff, sizeof(maps.guard.ipv6[0].mask));
  if ((flags & VMLANE_GUARD_FULL) == 0) return maps;
  std::memcpy(maps.plain.mac, maps.guard.macs[0], 6);
  maps.plain.ipv4 = maps.guard.ipv4[0].address;
  std::memcpy(maps.plain.ipv6, maps.guard.ipv6[0].address, sizeof(maps.plain.ipv6));
  return maps;
}

void require_same_when_split(int (*program)(struct __sk_buff*), const test::Frame& question,
                             std::size_t linear, const WorkloadMaps& given) {
  WorkloadMaps of_whole = given;
  WorkloadMaps of_split = given;
  const Outcome whole = KernelFrame(question, question.size()).run(program, of_whole);
  const Outcome split = KernelFrame(question, linear).run(program, of_split);
  require(whole.verdict == split.verdict, "a split frame gets the verdict of a whole one");
  require(whole.frame == split.frame, "and the same reply");
  require(std::memcmp(&of_whole.guard, &of_split.guard, sizeof(of_whole.guard)) == 0, "for the same reason");
  require(of_whole.claims.size() == of_split.claims.size(), "and claims the same");
}

void require_honest_short_cut(const test::Frame& question, WorkloadMaps maps) {
  if ((maps.guard.flags & VMLANE_GUARD_MACS) == 0) return;
  KernelFrame frame(question, question.size());
  if (!vmlane_is_plain(frame.skb(), &maps.plain)) return;
  static WorkloadMaps judged;  // a program has no other argument than its skb
  judged = std::move(maps);
  const Outcome outcome =
      frame.run([](struct __sk_buff* skb) { return vmlane_guard_frame(skb, &judged.guard); }, judged);
  require(outcome.verdict == VMLANE_GUARD_PASS, "the guard passes what the short cut does");
}

void require_native_answer(const test::Frame& question, const vmlane_answers& answers) {
  WorkloadMaps maps = maps_for(answers, 0);
  const Outcome kernel = KernelFrame(question, question.size()).run(vmlane_from_workload, maps);
  test::Frame frame = question;
  frame.resize(question.size() + answers::kAnswerCapacity);
  vmlane_answers own = answers;
  const auto native = answers::answer(frame, question.size(), own);
  frame.resize(native.length);
  const int expected = native.verdict == answers::Verdict::kReply  ? kRedirect
                       : native.verdict == answers::Verdict::kDrop ? TC_ACT_SHOT
                                                                   : TC_ACT_UNSPEC;
  require(kernel.verdict == expected, "kernel and native build say the same");
  if (expected == kRedirect) require(kernel.frame == frame, "and reply the same");
}

}  // namespace
}  // namespace vmlane::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmlane;
  static const fuzz::FrameSource source;
  if (size < 3) return 0;
  const test::Frame question = source.frame(data + 3, size - 3);
  // Every skb on a link has an Ethernet header in its linear part.
  if (question.size() < test::kEthernetHeader) return 0;
  const fuzz::WorkloadMaps maps = fuzz::maps_for(source.answers(), data[0] | data[1] << 8);
  const std::size_t linear = test::kEthernetHeader + data[2] % fuzz::kMaxLinear;
  fuzz::require_same_when_split(vmlane_from_workload, question, linear, maps);
  fuzz::require_same_when_split(vmlane_to_workload, question, linear, maps);
  fuzz::require_honest_short_cut(question, maps);
  fuzz::require_native_answer(question, source.answers());
  fuzz::WorkloadMaps refreshing = maps;
  refreshing.answers.ra_interval = 600;
  fuzz::KernelFrame(question, linear).run(vmlane_from_workload, refreshing);
  // What it learns of a frame towards the guest counts for the next from it.
  fuzz::KernelFrame(question, linear).run(vmlane_to_workload, refreshing);
  fuzz::require_honest_short_cut(question, refreshing);
  return 0;
}
