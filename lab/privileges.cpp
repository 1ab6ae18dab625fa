// SPDX-License-Identifier: Apache-2.0
#include "lab/privileges.h"

#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <sstream>
#include <string>

namespace vmlane::lab {
namespace {

// The bounding set is dropped while we still may, the rest after the user is changed: a change from root
// clears it, but a "user" that is root keeps it.
Result<> drop_bounding_set() {
  for (int capability = 0; ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++) {
    if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0)
      return fail(kernel_error("cannot drop capability " + std::to_string(capability), errno));
  }
  return {};
}

Result<> clear_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> none{};
  if (::syscall(SYS_capset, &header, none.data()) != 0 || ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    return fail(kernel_error("cannot give up capabilities", errno));
  return {};
}

bool cpu_virtualises() {
  std::ifstream info("/proc/cpuinfo");
  std::string line;
  while (std::getline(info, line)) {
    if (!line.starts_with("flags")) continue;
    std::istringstream flags(line);
    std::string flag;
    while (flags >> flag) {
      if (flag == "vmx" || flag == "svm") return true;
    }
  }
  return false;
}

}  // namespace

Result<> check_root() {
  if (::geteuid() == 0) return {};
  return fail(Code::kBadEnvironment, "the lab makes network namespaces and needs root", "run it with sudo");
}

Result<> drop_privileges(uid_t uid, gid_t gid, std::optional<gid_t> extra_group) {
  VMLANE_TRY(drop_bounding_set());
  const gid_t group = extra_group.value_or(gid);
  if (::setgroups(1, &group) != 0 || ::setresgid(gid, gid, gid) != 0 || ::setresuid(uid, uid, uid) != 0)
    return fail(
        kernel_error("cannot become uid " + std::to_string(uid) + ", gid " + std::to_string(gid), errno));
  return clear_capabilities();
}

KvmAccess kvm_access(uid_t uid, gid_t gid) {
  struct stat info {};
  if (!cpu_virtualises() || ::stat("/dev/kvm", &info) != 0) return {};
  const auto allows = [&info](mode_t bits) { return (info.st_mode & bits) == bits; };
  constexpr mode_t kOwner = S_IRUSR | S_IWUSR;
  constexpr mode_t kGroup = S_IRGRP | S_IWGRP;
  constexpr mode_t kOthers = S_IROTH | S_IWOTH;
  if (uid == info.st_uid) return {.usable = allows(kOwner)};
  if (gid == info.st_gid) return {.usable = allows(kGroup)};
  if (allows(kOthers)) return {.usable = true};
  // Membership of root's group would open far more than this device.
  if (allows(kGroup) && info.st_gid != 0) return {.usable = true, .group = info.st_gid};
  return {};
}

}  // namespace vmlane::lab
