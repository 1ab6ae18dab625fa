// SPDX-License-Identifier: Apache-2.0
#include "keeper/session.h"

#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>

namespace vmlane::keeper {
namespace {

using vhost_user::Request;
using vhost_user::RingNumber;

// What a session is kept with. The back end's own channel is not among it: nothing of ours speaks there.
constexpr std::uint64_t kKeptProtocol =
    vhost_user::ProtocolFeatures::kMultiQueue | vhost_user::ProtocolFeatures::kLogSharedMemory |
    vhost_user::ProtocolFeatures::kRarp | vhost_user::ProtocolFeatures::kReplyAck |
    vhost_user::ProtocolFeatures::kMtu | vhost_user::ProtocolFeatures::kStatus;
constexpr std::uint64_t kNotKept = vhost_user::kRingPacked | vhost_user::kAccessPlatform;

void set_number(Message& message, std::uint64_t value) {
  if (message.payload.size() == sizeof value) std::memcpy(message.payload.data(), &value, sizeof value);
}

Message without_payload(Request request) {
  return {.request = request};
}

}  // namespace

bool expects_reply(const Message& message) {
  switch (message.request) {
    case Request::kGetFeatures:
    case Request::kGetProtocolFeatures:
    case Request::kGetQueueCount:
    case Request::kGetRingBase:
    case Request::kGetStatus:
    case Request::kSetLogBase:
      return true;
    default:
      return message.needs_reply();
  }
}

void Session::restrict_reply(Message& reply) {
  const auto value = reply.as<std::uint64_t>();
  if (reply.request == Request::kGetFeatures) set_number(reply, value & ~kNotKept);
  if (reply.request == Request::kGetProtocolFeatures) set_number(reply, value & kKeptProtocol);
}

Result<> Session::check_replayed(const Message& reply) const {
  const auto offered = reply.as<std::uint64_t>();
  const auto lacking = [&](std::uint64_t used, const char* what) -> Result<> {
    if ((used & ~offered) == 0) return {};
    return fail(Code::kNotAvailable,
                std::string("the switch that runs now lacks ") + what + " that the guest uses",
                "the guest's NIC is connected anew");
  };
  if (reply.request == Request::kGetFeatures) return lacking(features_.value_or(0), "virtio features");
  if (reply.request == Request::kGetProtocolFeatures)
    return lacking(protocol_.value_or(0), "protocol features");
  return {};
}

void Session::record(const Message& message, const Message* reply) {
  const auto answer = reply != nullptr ? reply->as<std::uint64_t>() : 0;
  begun_ = true;
  switch (message.request) {
    case Request::kGetFeatures:
      offered_ = answer;
      return;
    case Request::kGetProtocolFeatures:
      protocol_offered_ = answer;
      return;
    case Request::kGetRingBase: {
      // The back end gives the ring up with it.
      Ring& ring = ring_of(message);
      ring = Ring{.base = reply != nullptr ? reply->as<RingNumber>().number : 0, .enabled = ring.enabled};
      return;
    }
    case Request::kSetLogBase:
      log_base_ = message;
      return;
    default:
      // Of the rest a reply says whether the back end has taken it.
      if (answer == 0) record_setting(message);
  }
}

void Session::record_setting(const Message& message) {
  const auto number = message.as<std::uint64_t>();
  switch (message.request) {
    case Request::kResetOwner: {
      Session fresh;
      fresh.begun_ = true;
      fresh.offered_ = offered_;
      fresh.protocol_offered_ = protocol_offered_;
      *this = std::move(fresh);
      return;
    }
    case Request::kSetFeatures:
      features_ = number;
      return;
    case Request::kSetProtocolFeatures:
      protocol_ = number;
      return;
    case Request::kSetMtu:
      mtu_ = number;
      return;
    case Request::kSetStatus:
      status_ = number;
      return;
    case Request::kSetMemTable:
      table_ = message.as<vhost_user::MemoryTable>();
      memory_ = message.descriptors;
      return;
    case Request::kSetLogDescriptor:
      log_descriptor_ = message;
      return;
    default:
      record_ring(message);
  }
}

Session::Ring& Session::ring_of(const Message& message) {
  return rings_[message.as<std::uint32_t>() % rings_.size()];
}

void Session::record_ring(const Message& message) {
  Ring& ring = ring_of(message);
  const std::uint32_t number = message.as<RingNumber>().number;
  switch (message.request) {
    case Request::kSetRingSize:
      ring.size = number;
      return;
    case Request::kSetRingBase:
      ring.base = number;
      return;
    case Request::kSetRingAddress:
      ring.address = message.as<vhost_user::RingAddress>();
      return;
    case Request::kSetRingEnable:
      ring.enabled = number;
      return;
    case Request::kSetRingKick:
      ring.kick = message;
      return;
    case Request::kSetRingCall:
      ring.call = message;
      return;
    case Request::kSetRingError:
      ring.error = message;
      return;
    default:
      return;  // says nothing that lasts
  }
}

std::optional<Session::Place> Session::find(const vhost_user::MemoryTable& table, std::uint64_t user_address,
                                            std::uint64_t size) {
  for (std::size_t i = 0; i < table.count; i++) {
    const vhost_user::MemoryRegion& region = table.regions[i];
    if (user_address < region.user_address) continue;
    const std::uint64_t into = user_address - region.user_address;
    if (into <= region.size && size <= region.size - into) return Place{i, region.offset + into};
  }
  return std::nullopt;
}

// How far the back end came stands in the guest's memory. That is read by the file, not mapped: a file that
// is cut short meanwhile is then an error and no signal.
std::uint32_t Session::base_of(const Ring& ring) const {
  const std::uint32_t recorded = ring.base.value_or(0);
  if (!ring.address || !ring.size) return recorded;
  const auto place = find(table_, ring.address->used, vhost_user::used_ring_bytes(*ring.size));
  if (!place) return recorded;
  std::uint16_t used = 0;
  const auto offset = static_cast<off_t>(place->offset + vhost_user::kUsedIndex);
  const ssize_t got = ::pread(memory_[place->region]->get(), &used, sizeof used, offset);
  return got == ssize_t{sizeof used} ? used : recorded;
}

void Session::replay_ring(std::uint32_t index, const Ring& ring, std::vector<Message>& messages) const {
  const auto tell = [&](Request request, std::uint32_t number) {
    messages.push_back(make_message(request, RingNumber{index, number}));
  };
  const auto again = [&](const std::optional<Message>& message) {
    if (!message) return;
    messages.push_back(*message);
    messages.back().flags = vhost_user::Header::kVersion;
  };
  if (ring.size) tell(Request::kSetRingSize, *ring.size);
  if (ring.base || ring.address) tell(Request::kSetRingBase, base_of(ring));
  if (ring.address) messages.push_back(make_message(Request::kSetRingAddress, *ring.address));
  again(ring.error);
  again(ring.call);
  again(ring.kick);
}

std::vector<Message> Session::replay() const {
  std::vector<Message> messages;
  const auto tell = [&](Request request, const std::optional<std::uint64_t>& value) {
    if (value) messages.push_back(make_message(request, *value));
  };
  messages.push_back(without_payload(Request::kSetOwner));
  messages.push_back(without_payload(Request::kGetFeatures));
  if (protocol_) messages.push_back(without_payload(Request::kGetProtocolFeatures));
  tell(Request::kSetProtocolFeatures, protocol_);
  tell(Request::kSetFeatures, features_);
  tell(Request::kSetMtu, mtu_);
  if (has_memory()) {
    Message table = make_message(Request::kSetMemTable, table_, memory_);
    table.payload.resize(vhost_user::MemoryTable::bytes(table_.count));
    messages.push_back(std::move(table));
  }
  for (const std::optional<Message>& log : {log_base_, log_descriptor_}) {
    if (log) messages.push_back(*log);
  }
  for (std::uint32_t i = 0; i < rings_.size(); i++) replay_ring(i, rings_[i], messages);
  for (std::uint32_t i = 0; i < rings_.size(); i++) {
    if (rings_[i].enabled)
      messages.push_back(make_message(Request::kSetRingEnable, RingNumber{i, *rings_[i].enabled}));
  }
  tell(Request::kSetStatus, status_);
  messages.push_back(without_payload(Request::kGetFeatures));
  return messages;
}

unsigned Session::rings_in_use() const {
  return static_cast<unsigned>(
      std::ranges::count_if(rings_, [](const Ring& ring) { return ring.address && ring.kick; }));
}

}  // namespace vmlane::keeper
