// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/error.h"
#include "keeper/message.h"

namespace vmlane::keeper {

// What one guest's front end has told its back end so far, so that it can be told again to another one: the
// device then goes on where it was, and the guest sees neither a reset nor its link go down.
//
// That works for split rings because they are used in order, so that the used index in the guest's memory is
// all that a back end that was killed has to have left behind. Packed rings are not offered for that reason.
class Session {
 public:
  // Whether the front end may send this now; an error names the message and what is wrong with it. Nothing
  // that passes can lead a back end out of the guest's memory by its addresses, or to a file that ends
  // before its region does. keeper/message_rules.cpp
  Result<> check(const Message& message) const;
  // Remembers a message that check() let pass and the back end has taken, with the reply where it has one.
  void record(const Message& message, const Message* reply = nullptr);

  // A reply of the back end as the front end is to see it: less what a session cannot be kept with.
  static void restrict_reply(Message& reply);
  // Whether a back end that answered like this can take the session over: it offers all that is in use.
  Result<> check_replayed(const Message& reply) const;
  // All messages that put a new back end where the last one was. The last is answered when all are done.
  std::vector<Message> replay() const;

  // Whether there is anything to replay.
  bool begun() const { return begun_; }
  bool has_memory() const { return table_.count != 0; }
  // The guest's driver has agreed on features; memory comes right after that.
  bool driver_ready() const { return features_.has_value(); }
  unsigned rings_in_use() const;
  std::size_t regions() const { return table_.count; }

 private:
  struct Ring {
    std::optional<std::uint32_t> size;
    std::optional<std::uint32_t> base;
    std::optional<vhost_user::RingAddress> address;
    // A message of each kind was there, with a descriptor or with none.
    std::optional<Message> kick;
    std::optional<Message> call;
    std::optional<Message> error;
    std::optional<std::uint32_t> enabled;
  };

  Result<> check_size(const Message& message) const;
  Result<> check_features(std::uint64_t features) const;
  Result<> check_memory(const Message& message) const;
  Result<> check_ring_size(const Message& message) const;
  Result<> check_ring_address(const vhost_user::RingAddress& address) const;
  Result<> check_ring_descriptor(const Message& message) const;
  // Where a range of the front end's addresses is; no value when no region has all of it.
  struct Place {
    std::size_t region = 0;
    std::uint64_t offset = 0;
  };
  static std::optional<Place> find(const vhost_user::MemoryTable& table, std::uint64_t user_address,
                                   std::uint64_t size);
  static bool holds(const vhost_user::MemoryTable& table, const vhost_user::RingAddress& address,
                    std::uint32_t size);
  void record_setting(const Message& message);
  void record_ring(const Message& message);
  // Ring numbers are the low byte of what such a message begins with.
  Ring& ring_of(const Message& message);
  std::uint32_t base_of(const Ring& ring) const;
  void replay_ring(std::uint32_t index, const Ring& ring, std::vector<Message>& messages) const;

  bool begun_ = false;
  std::optional<std::uint64_t> offered_;  // by the back end
  std::optional<std::uint64_t> features_;
  std::optional<std::uint64_t> protocol_offered_;
  std::optional<std::uint64_t> protocol_;
  std::optional<std::uint64_t> mtu_;
  std::optional<std::uint64_t> status_;
  vhost_user::MemoryTable table_;
  std::vector<SharedFd> memory_;
  std::optional<Message> log_base_;
  std::optional<Message> log_descriptor_;
  std::array<Ring, vhost_user::kMaxRings> rings_;
};

// Whether the back end answers it: by what it asks, or because its sender wants to know when it is done.
bool expects_reply(const Message& message);

}  // namespace vmlane::keeper
