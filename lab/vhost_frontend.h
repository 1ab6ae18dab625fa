// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/error.h"
#include "core/files.h"
#include "core/vhost_user.h"

// The VM's side of vhost-user without a VM: a process that has rings in shared memory and a socket on which
// it listens, as QEMU has for each NIC. With it a switch can be measured and tested on its own, in every
// state that a guest may bring it into. vhost-user protocol and virtio 1.1, 2.6 (split rings) and 5.1
// (network device).
namespace vmlane::lab {

// struct virtio_net_hdr_v1.
struct VirtioNetHeader {
  static constexpr std::uint8_t kNeedsChecksum = 1;
  static constexpr std::uint8_t kGsoTcp4 = 1;
  static constexpr std::uint8_t kGsoTcp6 = 4;
  std::uint8_t flags = 0;
  std::uint8_t gso_type = 0;
  std::uint16_t header_length = 0;
  std::uint16_t gso_size = 0;
  std::uint16_t checksum_start = 0;
  std::uint16_t checksum_offset = 0;
  std::uint16_t buffers = 0;
};
static_assert(sizeof(VirtioNetHeader) == 12);

struct VirtioFeatures {
  static constexpr std::uint64_t kChecksum = std::uint64_t{1}
                                             << 0;  // the guest leaves checksums to the device
  static constexpr std::uint64_t kGuestChecksum = std::uint64_t{1} << 1;  // and takes frames without one
  static constexpr std::uint64_t kGuestTso4 = std::uint64_t{1} << 7;
  static constexpr std::uint64_t kGuestTso6 = std::uint64_t{1} << 8;
  static constexpr std::uint64_t kHostTso4 = std::uint64_t{1} << 11;
  static constexpr std::uint64_t kHostTso6 = std::uint64_t{1} << 12;
  static constexpr std::uint64_t kMergeable = std::uint64_t{1} << 15;
  static constexpr std::uint64_t kMultiQueue = std::uint64_t{1} << 22;
  static constexpr std::uint64_t kIndirect = std::uint64_t{1} << 28;
  static constexpr std::uint64_t kEventIndex = std::uint64_t{1} << 29;
  static constexpr std::uint64_t kProtocol = std::uint64_t{1} << 30;
  static constexpr std::uint64_t kVersion1 = std::uint64_t{1} << 32;
  static constexpr std::uint64_t kAll = kChecksum | kGuestChecksum | kGuestTso4 | kGuestTso6 | kHostTso4 |
                                        kHostTso6 | kMergeable | kMultiQueue | kEventIndex | kProtocol |
                                        kVersion1;
  static constexpr std::uint64_t kPlain = kProtocol | kVersion1;  // nothing but frames
};

struct VhostFrontendOptions {
  std::filesystem::path socket;
  std::uint64_t features = VirtioFeatures::kAll;
  unsigned pairs = 1;  // of rings
  unsigned ring_size = 256;
  mode_t socket_mode = 0660;
  bool indirect = false;  // sends by indirect descriptors
};

struct ReceivedFrame {
  VirtioNetHeader header;
  std::vector<std::uint8_t> bytes;
};

// One NIC. One thread at a time, but for one that sends while another receives.
class VhostFrontend {
 public:
  // Makes memory and socket; a socket that is there is replaced, as QEMU does.
  static Result<std::unique_ptr<VhostFrontend>> listen(const VhostFrontendOptions& options);
  ~VhostFrontend();
  VhostFrontend(const VhostFrontend&) = delete;
  VhostFrontend& operator=(const VhostFrontend&) = delete;

  // Waits for a switch and gives it the rings, where they were. Code::kTryAgain when none comes in time.
  Result<> accept(std::chrono::milliseconds timeout);
  // Waits for a switch and tells it nothing.
  Result<> accept_only(std::chrono::milliseconds timeout);
  // Whether the switch is still there.
  bool connected();
  // As a guest that goes down in good order: takes the rings back.
  Result<> take_back();
  void disconnect();
  // As a guest that is rebooted, or whose driver is bound anew: takes the rings back and gives them again,
  // empty, over the same connection. What a switch had sent before is gone.
  Result<> restart_driver(std::uint64_t features);
  // As a memory device that is plugged into the VM: one region more. Its address is the next free one.
  Result<> plug_memory(std::size_t bytes);
  // As a driver that uses the first `pairs` of its ring pairs.
  Result<> use_pairs(unsigned pairs);
  // As QEMU after a migration: the switch is to tell others where the guest is.
  Result<> ask_for_announcement(const std::array<std::uint8_t, 6>& mac);
  // What both sides can do.
  std::uint64_t features() const { return features_; }

  // False when the ring is full. The header's `buffers` is not used.
  bool send(std::span<const std::uint8_t> frame, const VirtioNetHeader& header = {}, unsigned pair = 0);
  // The next frame of a pair, at once or within `timeout`, without or with using a CPU.
  std::optional<ReceivedFrame> receive(unsigned pair = 0);
  std::optional<ReceivedFrame> receive_within(std::chrono::milliseconds timeout, unsigned pair = 0);
  std::optional<ReceivedFrame> spin_within(std::chrono::nanoseconds timeout, unsigned pair = 0);
  // How often the switch had to be notified.
  std::uint64_t kicks() const { return kicks_; }

  // For tests of what no guest sends. The switch's answer, where it gives one, is read by the caller.
  Result<> send_message(vhost_user::Request request, std::span<const std::uint8_t> payload,
                        std::span<const int> descriptors = {});
  // The rings' memory, by the guest's physical addresses.
  std::span<std::uint8_t> memory() const { return memory_; }
  std::uint64_t descriptor_table(unsigned ring) const { return rings_[ring].descriptors; }
  std::uint64_t available_ring(unsigned ring) const { return rings_[ring].available; }
  int kick_descriptor(unsigned ring) const { return rings_[ring].kick.get(); }

 private:
  struct Ring {
    std::uint64_t descriptors = 0;  // guest addresses
    std::uint64_t available = 0;
    std::uint64_t used = 0;
    std::uint64_t indirect = 0;
    std::uint64_t buffers = 0;
    std::uint32_t buffer_size = 0;
    std::uint16_t next = 0;       // available index that we write next
    std::uint16_t last_used = 0;  // used index that we read next
    std::vector<std::uint16_t> free;
    Fd kick;
    Fd call;
  };

  explicit VhostFrontend(const VhostFrontendOptions& options) : options_(options) {}
  // Shared memory of the guest's.
  struct Memory {
    Fd descriptor;
    std::span<std::uint8_t> bytes;
  };
  static Result<Memory> make_shared(std::size_t bytes);
  Result<> make_memory();
  Result<> make_socket();
  Result<> start_device();
  void empty_rings();
  Result<> handshake();
  Result<> hand_over_memory();
  Result<> hand_over_ring(unsigned index);
  Result<std::uint64_t> ask(vhost_user::Request request);
  template <class Payload>
  Result<> tell(vhost_user::Request request, const Payload& payload, std::span<const int> descriptors = {});
  std::uint16_t load(std::uint64_t address) const;
  void store(std::uint64_t address, std::uint16_t value) const;
  void publish(Ring& ring, std::uint16_t head);
  void offer(Ring& ring, std::uint16_t index);
  void reclaim(Ring& ring);
  bool wait_for_call(Ring& ring, std::chrono::milliseconds timeout);
  bool has(std::uint64_t feature) const { return (features_ & feature) != 0; }

  VhostFrontendOptions options_;
  std::uint64_t features_ = 0;
  std::vector<Memory> regions_;     // the first has the rings
  std::span<std::uint8_t> memory_;  // of that one
  std::vector<Ring> rings_;
  Fd listener_;
  Fd connection_;
  bool rings_filled_ = false;
  std::atomic<std::uint64_t> kicks_ = 0;  // both directions count
};

}  // namespace vmlane::lab
