// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "core/address.h"
#include "core/error.h"
#include "core/node_config.h"
#include "core/record.h"

// Which attachment has which MAC on an L2 segment of this node. Two NICs with one MAC on one segment take
// each other's traffic, so an ADD claims its MAC before it makes a link.
//
// A claim is a symbolic link `<stateDir>/macs/<network id>/<mac>` that points to the owner's record: made by
// one system call, it answers in another who the owner is, however many attachments there are. It counts only
// while that record exists, so one left behind by an accident is worth nothing.
namespace vmlane::cni {

class MacClaims {
 public:
  MacClaims(const NodeConfig& config, std::uint32_t network_id)
      : config_(config),
        network_id_(network_id),
        directory_(config.macs_dir() / std::to_string(network_id)) {}

  // The attachment that has the MAC; none when it is free.
  Result<std::optional<AttachmentRecord>> owner(const MacAddress& mac) const;
  // Takes a MAC for an attachment whose record exists, from `from` (an attachment id) if that one has it.
  // False when another attachment has it.
  Result<bool> take(const MacAddress& mac, const std::string& attachment_id,
                    const std::string& from = {}) const;
  // Gives it back when the attachment has it, to `heir` unless empty; else nothing happens.
  Result<> release(const MacAddress& mac, const std::string& attachment_id,
                   const std::string& heir = {}) const;

 private:
  Result<std::optional<AttachmentRecord>> owner_in(const std::filesystem::path& claim) const;

  const NodeConfig& config_;
  std::uint32_t network_id_;
  std::filesystem::path directory_;
};

// Gives back whatever an attachment has, for one whose record is lost.
Result<> release_all_macs(const NodeConfig& config, const std::string& attachment_id);

// MACs of NICs for which nobody asked for one. The workload's is the same for each pod of the same VM, and
// for a pod of the same name, on every node, as long as network and interface have the same names; without an
// identity it is the attachment's own, which no other attachment has.
MacAddress workload_mac(const AttachmentKey& key, const PodIdentity& pod);
MacAddress attachment_mac(const AttachmentKey& key);

}  // namespace vmlane::cni
