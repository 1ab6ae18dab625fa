// SPDX-License-Identifier: Apache-2.0
// Messages as a hostile VM's process may send them: what the keeper lets pass it can tell again, and the
// rules would let that pass too. Each message is a request, flags, kinds of descriptors, a length, and that
// many bytes.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "keeper/session.h"
#include "tests/fuzz/fuzz.h"

namespace vmlane::fuzz {
namespace {

using keeper::Message;
using keeper::Session;
using keeper::SharedFd;
using vhost_user::Request;

constexpr off_t kMemory = 1 << 20;
constexpr std::uint64_t kFeatures = ~std::uint64_t{0};

// Made once: a run opens nothing.
const SharedFd& descriptor(std::uint8_t kind) {
  static const std::array<SharedFd, 3> kinds = [] {
    const int memory = ::memfd_create("fuzz", MFD_CLOEXEC);
    require(memory >= 0 && ::ftruncate(memory, kMemory) == 0, "there is memory");
    std::array<int, 2> pipe{};
    require(::pipe2(pipe.data(), O_CLOEXEC) == 0, "there is a pipe");
    return std::array<SharedFd, 3>{std::make_shared<const Fd>(memory),
                                   std::make_shared<const Fd>(::eventfd(0, EFD_CLOEXEC)),
                                   std::make_shared<const Fd>(pipe[0])};
  }();
  return kinds[kind % kinds.size()];
}

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}
  bool more() const { return left_ > 0; }
  std::uint8_t byte() {
    if (left_ == 0) return 0;
    left_--;
    return *data_++;
  }
  Message message() {
    Message message{.request = static_cast<Request>(byte()), .flags = byte()};
    for (std::uint8_t i = byte() % 10; i > 0; i--) message.descriptors.push_back(descriptor(byte()));
    const std::size_t low = byte();
    const std::size_t length = std::min(low | std::size_t{byte()} << 8, Message::kMaxPayload);
    for (std::size_t i = 0; i < length; i++) message.payload.push_back(byte());
    return message;
  }

 private:
  const std::uint8_t* data_;
  std::size_t left_;
};

// What a switch that offers everything would answer.
void take(Session& session, const Message& message) {
  const bool asks =
      message.request == Request::kGetFeatures || message.request == Request::kGetProtocolFeatures;
  Message reply = keeper::make_message(message.request, asks ? kFeatures : std::uint64_t{0});
  Session::restrict_reply(reply);
  session.record(message, keeper::expects_reply(message) ? &reply : nullptr);
}

}  // namespace
}  // namespace vmlane::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmlane;
  fuzz::Input input(data, size);
  keeper::Session session;
  while (input.more()) {
    const keeper::Message message = input.message();
    if (const auto checked = session.check(message); !checked) {
      fuzz::require_told(checked.error());
      continue;
    }
    fuzz::take(session, message);
  }
  keeper::Session next;
  for (const keeper::Message& message : session.replay()) {
    const auto checked = next.check(message);
    fuzz::require(checked.has_value(), "a replayed message is one of those that may be sent",
                  checked ? "" : checked.error().message);
    fuzz::take(next, message);
  }
  fuzz::require(next.rings_in_use() == session.rings_in_use(), "all rings are there again");
  return 0;
}
