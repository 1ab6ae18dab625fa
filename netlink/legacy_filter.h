// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "core/error.h"

// Chain FORWARD of table `filter` of iptables-legacy, in the calling thread's namespace. It is read from the
// kernel. It is changed by its own program only: the kernel takes such a table as a whole, and a lock and a
// check that nobody else changed it in between live in that program.
namespace vmlane::netlink {

struct LegacyForward {
  bool drops = false;    // its policy
  bool accepts = false;  // it has a rule with the comment asked for
};

// Both false, without asking the kernel, where the table is not in use: the question alone would load it.
Result<LegacyForward> legacy_forward(bool v6, const std::string& comment);

// iptables-legacy or ip6tables-legacy, or iptables or ip6tables of a release that knows no other kind; no
// value when the node has none in the usual directories.
Result<std::optional<std::filesystem::path>> legacy_program(bool v6);

// Puts a rule with the comment at the chain's head that accepts what comes from and goes to the bridge, once.
// Code::kDelegate with what the program said.
Result<> accept_in_legacy(bool v6, const std::string& bridge, const std::string& comment);
// Takes it out again; gone already is success.
Result<> withdraw_from_legacy(bool v6, const std::string& bridge, const std::string& comment);

}  // namespace vmlane::netlink
