// SPDX-License-Identifier: Apache-2.0
// The keys of a NAD by which a guest is guarded and told about its network, with the CNI result under
// "result": {"guestAnswers": ..., "spoofCheck": ..., "result": {...}}. What is accepted must give frames that
// answer.
#include <algorithm>

#include "answers/build.h"
#include "answers/native.h"
#include "cni/guest_answers.h"
#include "cni/source_guard.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/answer_examples.h"

namespace vmlane::fuzz {
namespace {

void read_guard(const Json& config, const cni::CniResult& result) {
  ObjectReader reader(config, "", Code::kInvalidConfig);
  const auto parsed = cni::parse_source_guard(reader, true, !result.ips.empty());
  if (!parsed) return require_told(parsed.error());
  const auto guard = cni::source_guard(*parsed, test::kAskingGuest, result.ips);
  if (!guard) return;
  require(guard->macs.size() <= ebpf::SourceGuard::kMaxMacs, "no more MACs than the program has room for");
  const Json written = ebpf::source_guard_to_json(*guard);
  const auto again = ebpf::source_guard_from_json(written);
  require(again.has_value(), "rules in a record can be read", to_text(written));
  require(ebpf::source_guard_to_json(*again) == written, "and say the same", to_text(written));
}

void ask_everything(vmlane_answers& answers, std::uint32_t mtu) {
  for (const auto& [name, question] : test::example_questions(answers)) {
    test::Frame frame = question;
    frame.resize(std::max(frame.size(), answers::kAnswerCapacity));
    const auto answer = answers::answer(frame, question.size(), answers);
    if (answer.verdict != answers::Verdict::kReply) continue;
    frame.resize(answer.length);
    require(answer.length <= mtu + test::kEthernetHeader, "a reply fits the MTU", name);
    const test::Reply reply = test::read_reply(frame);
    require(reply.lengths_right && reply.sums_right, "a reply's lengths and sums are right", name);
  }
}

void read_answers(const Json& config, const cni::CniResult& result) {
  ObjectReader reader(config, "", Code::kInvalidConfig);
  const auto parsed = cni::parse_guest_answers(reader, !result.ips.empty());
  if (!parsed) return require_told(parsed.error());
  const std::uint32_t mtu = config.contains("mtu") ? 9000 : 1500;
  const auto plan = cni::make_answer_plan(*parsed,
                                          {.guest = test::kAskingGuest,
                                           .network = "blue",
                                           .gateway_mac = test::kVirtualGateway,
                                           .mtu = mtu,
                                           .requested_dns = {}},
                                          result);
  if (!plan) return require_told(plan.error());
  if (!*plan) return;
  const auto built = answers::build_answers(**plan);
  if (!built) return require_told(built.error());
  ask_everything(**built, mtu);
}

}  // namespace
}  // namespace vmlane::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmlane;
  const auto config = parse_json(fuzz::text_of(data, size), "config");
  if (!config || !config->is_object()) return 0;
  const auto result =
      cni::CniResult::from_json(config->value("result", Json::object()), cni::kNewestVersion, "result");
  if (!result) return 0;
  fuzz::read_guard(*config, *result);
  fuzz::read_answers(*config, *result);
  return 0;
}
