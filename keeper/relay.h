// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <poll.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "keeper/channel.h"
#include "keeper/session.h"

namespace vmlane::keeper {

using Clock = std::chrono::steady_clock;

// One port: between QEMU, which listens on the port's socket, and the switch, which connects to a socket of
// the keeper's as if that were QEMU's.
//
//   QEMU <--- front: checked, remembered ---> Relay <--- back: relayed, or told all again ---> switch
//
// One message of QEMU's is on its way at a time; the next is not read before. So a switch that is not there
// makes QEMU wait, and what it was asked meanwhile it is asked again after the replay. Nothing here waits.
class Relay {
 public:
  // `front` is QEMU's socket, `back` the one that is made for the switch.
  Relay(std::filesystem::path front, std::filesystem::path back);
  ~Relay();
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  const std::filesystem::path& front_socket() const { return front_path_; }

  // Connects to QEMU if that can be done now; true when it is connected.
  bool connect_front();
  bool front_connected() const { return front_.has_value(); }

  // Descriptors that this relay waits for.
  void append_wanted(std::vector<pollfd>& wanted) const;
  // Goes on as far as can be without waiting. `switch_pid` is the process that may connect.
  void step(pid_t switch_pid, Clock::time_point now);
  // Lets go of the switch that is connected; the session stays.
  void drop_back();

  // The switch has been told everything and has done it, or there is nothing to tell.
  bool settled() const { return !front_ || (back_ && phase_ == Phase::kRelaying); }
  bool back_connected() const { return back_.has_value(); }
  // The switch has not taken or not answered a message since then.
  std::optional<Clock::time_point> waiting_since() const { return waiting_since_; }

  // "state": waiting (nobody listens), refused ("problem" says why), held; and what happened so far.
  Json to_json() const;

 private:
  enum class Phase { kReplaying, kRelaying };

  Result<> listen();
  void accept_back(pid_t switch_pid);
  // Ends QEMU's connection: its guest sees the link go down, and all begins anew when it is made again.
  void drop_front(const std::string& reason);
  void back_lost(const std::string& why);
  void back_progressed() { fruitless_ = 0; }

  // Each is true when it got any further.
  bool step_front();
  bool step_back();
  void begin_replay();
  Result<bool> step_replay();
  Result<bool> step_relaying();
  Result<> finish_current(std::optional<Message> reply);
  Result<std::optional<Message>> await_reply(const Message& request);

  const std::filesystem::path front_path_;
  const std::filesystem::path back_path_;
  std::optional<Channel> front_;
  Fd listener_;
  std::optional<Channel> back_;
  Session session_;
  Phase phase_ = Phase::kRelaying;

  std::vector<Message> replay_;
  std::size_t replayed_ = 0;        // of these
  std::optional<Message> current_;  // QEMU's, not done yet
  bool told_ = false;               // the message that is next was given to the switch
  unsigned fruitless_ = 0;          // connections of the switch that ended without any progress

  Clock::time_point now_{};
  std::optional<Clock::time_point> waiting_since_;
  std::optional<Clock::time_point> driver_ready_since_;  // without memory
  std::uint64_t replays_ = 0;
  std::string last_reason_;  // why the session ended that was there before
  std::string problem_;      // why there is none
};

}  // namespace vmlane::keeper
