// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include "core/error.h"
#include "core/exec.h"
#include "core/record.h"

// Calls of the plugin that made an attachment, by somebody who is no runtime: all that the call needs is in
// the record.
namespace vmlane::cni {

struct RecordedCall {
  std::filesystem::path program;
  Environment env;
  std::string input;
};

// The DEL that a runtime would send. `caller` is the caller's own environment, `cni_path` is searched before
// the record's. Code::kInvalidConfig when the plugin is not found.
Result<RecordedCall> recorded_delete(const Environment& caller, const AttachmentRecord& record,
                                     const std::string& cni_path = {});

// The CHECK, with the record's result as prevResult. In the config's own version, or in 0.4.0, the first that
// has CHECK, when that is older.
Result<RecordedCall> recorded_check(const Environment& caller, const AttachmentRecord& record);

}  // namespace vmlane::cni
