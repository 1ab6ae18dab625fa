// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "lab/vhost_frontend.h"
#include "tests/support/frames.h"
#include "tests/support/offload.h"
#include "tests/support/plugin.h"

// vmlane-switch as a node has it: the built program, its attachments made by the built plugin, and on the
// VMs' side processes that speak vhost-user as QEMU does (lab/vhost_frontend.h).
namespace vmlane::test {

// A NIC that was added, and the guest on it.
struct Nic {
  std::string container;
  Json result;
  MacAddress mac;
  std::optional<IpAddress> address;
  std::unique_ptr<lab::VhostFrontend> guest;
};

// A guest's network stack of the smallest kind, in a thread: answers ARP and ICMP echo, on its NIC.
class AnsweringGuest {
 public:
  explicit AnsweringGuest(Nic& nic);
  ~AnsweringGuest();
  AnsweringGuest(const AnsweringGuest&) = delete;
  AnsweringGuest& operator=(const AnsweringGuest&) = delete;

 private:
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

class SwitchTest : public PluginFixture {
 protected:
  std::string plugin() const override { return "vmlane-vhostuser"; }
  void TearDown() override;

  // Starts the switch and waits until it forwards. `options` come after those that keep it small.
  void start_switch(const std::vector<std::string>& options = {}, std::optional<uid_t> uid = std::nullopt);
  // The same under a keeper, with `options` for that, and others for the switch.
  void start_keeper(const std::vector<std::string>& options = {},
                    const std::vector<std::string>& switch_options = {});
  // As a crash ends what was started.
  void kill_switch();
  const BackgroundProcess& process() const { return *switch_; }

  // A config without a bridge: the network is the switch's alone.
  Json inside(const Json& more = Json::object()) const;
  // ADD, then a guest that listens. The switch need not run.
  Nic make_nic(const std::string& container, const Json& config,
               std::uint64_t features = lab::VirtioFeatures::kAll, unsigned pairs = 1);
  // The same, connected.
  Nic connect_nic(const std::string& container, const Json& config,
                  std::uint64_t features = lab::VirtioFeatures::kAll, unsigned pairs = 1);
  void connect(Nic& nic);

  // What the switch says of itself; null when it does not.
  Json ask(const std::string& method, const Json& params = Json::object()) const;
  Json ask_keeper(const std::string& method) const;
  // The entry of `ports` for a NIC.
  Json port_of(const Nic& nic) const;
  // Frames that were dropped at the NIC's port for a reason.
  std::uint64_t drops_at(const Nic& nic, const std::string& reason) const;
  std::string id_of(const Nic& nic) const;
  // `vmlanectl switch` with these words.
  RunResult switch_command(std::vector<std::string> words, RunOptions options = {}) const;

 private:
  void start(const std::vector<std::string>& command, std::optional<uid_t> uid);
  std::unique_ptr<BackgroundProcess> switch_;
};

inline constexpr std::chrono::seconds kPatience{10};

// Sends a test frame with `text` and waits for it at the other guest.
bool passes(Nic& from, Nic& to, const std::string& text);
// The next frame that carries `text`, or none.
bool arrives(Nic& at, const std::string& text, std::chrono::milliseconds patience = kPatience);

}  // namespace vmlane::test
