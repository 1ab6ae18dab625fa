// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "core/error.h"
#include "keeper/message.h"

namespace vmlane::keeper {

// Whole messages over a connection that never waits. What is kept of a peer's bytes is one message at most,
// and of its descriptors as many as one may have.
class Channel {
 public:
  // The connection must be one that does not block.
  explicit Channel(Fd connection) : connection_(std::move(connection)) {}

  int descriptor() const { return connection_.get(); }

  // The next message, when all of it is there. Code::kNotAvailable: the other side has ended the connection;
  // Code::kDecode: what it sends is no message. Nothing can be received after either.
  Result<std::optional<Message>> receive();

  // Sends what the connection takes now; the rest with flush(). Only when nothing is left of the one before.
  Result<> send(const Message& message);
  Result<> flush();
  bool sending() const { return !outgoing_.empty(); }

 private:
  // False when no more can be had now.
  Result<bool> fill(std::size_t wanted);

  Fd connection_;
  std::vector<std::uint8_t> incoming_;  // header and payload
  std::vector<SharedFd> incoming_descriptors_;
  std::vector<std::uint8_t> outgoing_;
  std::vector<SharedFd> outgoing_descriptors_;  // go with the first byte
};

}  // namespace vmlane::keeper
