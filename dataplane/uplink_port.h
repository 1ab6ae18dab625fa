// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/files.h"
#include "dataplane/offload.h"
#include "dataplane/port.h"

namespace vmlane::dataplane {

// A network's way to the kernel: a tap that a CNI plugin made, put into the network's bridge and gave to the
// switch's user. The switch only attaches to it, which needs no capability. Frames keep their offloads both
// ways: the tap has virtio headers, and the kernel takes and gives TCP segments of 64 KiB.
//
// As a worker serves it: nothing else touches it after open().
class UplinkPort final : public Port {
 public:
  // `lost` is called, by the worker, when somebody deletes the tap. Errors name the tap and say what is to be
  // done.
  static Result<std::unique_ptr<UplinkPort>> open(const std::string& tap, rte_mempool* pool, int epoll,
                                                  std::function<void()> lost);
  ~UplinkPort() override;

  unsigned receive(std::span<rte_mbuf*> frames, std::uint64_t now) override;
  void send(std::span<rte_mbuf*> frames) override;
  Offloads offloads() const override { return {.checksum = true, .tso4 = true, .tso6 = true}; }
  bool linked() const override { return linked_; }
  // Its descriptor stays in the worker's epoll and is ready for as long as there is a frame.
  void arm() override {}
  void disarm() override {}

 private:
  UplinkPort(std::string tap, Fd fd, rte_mempool* pool, int epoll, std::function<void()> lost);
  rte_mbuf* read_frame();
  bool write_frame(const rte_mbuf& frame);

  static constexpr std::size_t kMaxFrame = 65536 + 64;

  const Fd fd_;
  rte_mempool* const pool_;
  const int epoll_;
  const std::function<void()> lost_;
  bool linked_ = true;
  bool busy_ = false;
  std::uint64_t next_look_ = 0;
  std::vector<std::uint8_t> overflow_;  // what of a frame does not fit into its first buffer
};

}  // namespace vmlane::dataplane
