// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cni/lane.h"
#include "cni/request.h"
#include "cni/result.h"
#include "cni/session.h"
#include "core/error.h"

namespace vmlane::cni {

// ADD: all of it, or nothing and an error. A namespace that is the plugin's own is refused before anything is
// touched; an attachment that exists already, or a pod link of a wanted name, is Code::kConflict; leftovers
// of a killed ADD or DEL of the same attachment are removed first.
Result<CniResult> attach(const Session& session, Lane& lane, const Request& request);

// CHECK: the record exists and is done, the namespace is the one of ADD, the lane and IPAM find all in place.
Result<> check_attachment(const Session& session, Lane& lane, const Request& request);

}  // namespace vmlane::cni
