// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "tests/support/host.h"

namespace vmlane::test {

// Everything that a plugin may touch, as text by section: links, addresses, routes, fdb, qdiscs and nft rules
// of host and pods, IPAM, state, run and bpf directories, mounted namespaces. Left out is what the kernel
// changes by itself (counters, timers, carrier, link-local addresses) and what is meant to stay: lock files,
// the log, programs kept for the next ADD, the table of network ids, the mark of the boot, host-local's own
// "last reserved" marks.
using Snapshot = std::map<std::string, std::string>;

// Snapshot of a node: its host namespace (the caller's), and its pods.
Snapshot take_snapshot(const NodeConfig& node, const std::filesystem::path& ipam_dir,
                       const std::map<std::string, std::unique_ptr<Pod>>& pods);

// Lines that differ, "- " before and "+ " after, under their section; empty when both are alike.
std::string difference(const Snapshot& before, const Snapshot& after);

}  // namespace vmlane::test

// Both snapshots are alike; the failure lists what differs.
#define EXPECT_SNAP_CLEAN(before, after) EXPECT_EQ(::vmlane::test::difference((before), (after)), "")
#define ASSERT_SNAP_CLEAN(before, after) ASSERT_EQ(::vmlane::test::difference((before), (after)), "")
