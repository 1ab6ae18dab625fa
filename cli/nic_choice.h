// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "core/error.h"
#include "core/record.h"

namespace vmlane::cli {

// Which VM's NICs a command is about; exactly one of the first three is set.
struct NicChoice {
  std::string pod;  // "namespace/name", or a name that is unique on the node
  std::string vm;   // the same
  std::string container_id;
  std::vector<std::string> ifnames;  // only these; empty: all
};

// The chosen records, all of one sandbox. Left out with a warning: one that is not whole (ADD or DEL did not
// end), and a container's NIC (vmlane-veth) unless `choice` names its interface. Code::kNotFound when a named
// interface is not there or nothing is left, Code::kConflict when more than one sandbox fits.
Result<std::vector<AttachmentRecord>> choose_nics(const std::vector<AttachmentRecord>& records,
                                                  const NicChoice& choice,
                                                  std::vector<std::string>& warnings);

// The records in these files. Errors name the file: one that is no record, is not whole, or is of another
// sandbox than the first.
Result<std::vector<AttachmentRecord>> read_record_files(const std::vector<std::string>& files);

}  // namespace vmlane::cli
