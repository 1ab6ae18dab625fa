// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/invocation.h"
#include "netlink/namespace.h"
#include "netlink/netlink.h"

// The key `selinuxContext`. A tap keeps the label of the process that makes it, and QEMU in the pod may only
// open one of the pod's own. So under SELinux a second process of this program, started under the wanted
// context and already in the pod's namespace, makes the tap and nothing else.
namespace vmlane::cni {

// Where SELinux is and what is started; a test names others.
struct Selinux {
  std::filesystem::path root = "/sys/fs/selinux";
  std::filesystem::path exec_attribute = "/proc/thread-self/attr/exec";
  std::filesystem::path program = "/proc/self/exe";
};

enum class SelinuxMode { kAbsent, kPermissive, kEnforcing };

// By the file `enforce`, which is there exactly when SELinux is.
Result<SelinuxMode> selinux_mode(const Selinux& selinux);

// Code::kInvalidConfig unless it is user:role:type or user:role:type:level.
Result<> check_selinux_context(std::string_view context);

// The context for a tap: the key's value wherever SELinux is, containers' own where it enforces and there is
// no key; none means that the tap is made like any other link.
std::optional<std::string> selinux_context(SelinuxMode mode, const std::string& key_value);

// As netlink::create_tap, under `context`. A context that the kernel does not take is Code::kKernel naming
// key and context.
Result<> create_labelled_tap(const Selinux& selinux, const netlink::Namespace& where,
                             const netlink::TapSpec& spec, const std::string& context);

// For main(): when this process was started by create_labelled_tap, does its work and gives the exit status.
std::optional<int> run_tap_helper(const Invocation& invocation);

}  // namespace vmlane::cni
