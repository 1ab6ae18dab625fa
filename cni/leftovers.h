// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>

#include "cni/lane.h"
#include "cni/session.h"
#include "core/error.h"
#include "core/exec.h"
#include "core/record.h"

// Attachments whose pod ended without a DEL: the node lost power, or a runtime forgot. Their links went with
// their namespaces; what stays is addresses, MACs and records.
namespace vmlane::cni {

// Whether the sandbox of an attachment is certainly no more: it is of an earlier boot, or its namespace path
// leads nowhere or to another namespace and the host's end of its pair, which lives as long as the namespace
// does, is gone. The kernel takes a moment to take a namespace down; `patience` says how long to wait for it.
Result<bool> sandbox_is_gone(const Node& node, const AttachmentRecord& record,
                             std::chrono::milliseconds patience = std::chrono::milliseconds(0));

// The DEL that the runtime did not send, by the plugin of the record: `env` is the caller's own environment,
// `cni_path` is searched before the record's.
Result<> delete_by_plugin(const Environment& env, const AttachmentRecord& record,
                          const std::string& cni_path = {});

// Removes a dead attachment, by this lane or, when it is another plugin's, by that plugin's DEL; its
// addresses go by the container id and config in its record. Nothing happens when its record has changed
// since it was read. The caller holds no lock of that attachment.
Result<> reclaim_dead(const Session& session, const Lane& lane, const AttachmentRecord& dead,
                      const std::string& cni_path);

// At the first ADD of a boot, before it takes an address: removes every attachment of earlier boots, of which
// the runtime need not know any more, so that addresses do not leak from reboot to reboot. What cannot be
// removed is logged and left to DEL or GC. Takes locks; the caller holds none.
Result<> reclaim_earlier_boots(const Session& session, const Lane& lane, const std::string& cni_path);

// Removes what the same pod or VM had at this interface of this network under another container id, as long
// as that sandbox is gone. True when there was any. The network's addresses then are free to be taken again.
Result<bool> reclaim_predecessors(const Session& session, const Lane& lane,
                                  const AttachmentRecord& successor);

}  // namespace vmlane::cni
