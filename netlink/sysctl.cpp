// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "core/files.h"
#include "netlink/netlink.h"
#include "netlink/paced_write.h"

namespace vmlane::netlink {
namespace {

// /proc/sys/net shows the values of the namespace of the thread that looks.
std::filesystem::path sysctl_path(const std::string& family, const std::string& link,
                                  const std::string& key) {
  return std::filesystem::path("/proc/sys/net") / family / "conf" / link / key;
}

// Whether the link is there but IPv6 is not: the kernel has none, or the link's MTU is below what IPv6 needs.
bool link_without_ipv6(const std::string& link) {
  const auto directory = [&](const char* family) { return sysctl_path(family, link, "").string(); };
  return ::access(directory("ipv6").c_str(), F_OK) != 0 && ::access(directory("ipv4").c_str(), F_OK) == 0;
}

Result<std::optional<std::string>> read_value(const std::string& family, const std::string& link,
                                              const std::string& key) {
  VMLANE_ASSIGN(auto value, read_file(sysctl_path(family, link, key)));
  if (value && value->ends_with('\n')) value->pop_back();
  return value;
}

Result<> write_value(const std::string& path, const std::string& value) {
  const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) {
    Error error = kernel_error("cannot open " + path, errno);
    if (errno == ENOENT) error.code = Code::kNotFound;
    return fail(std::move(error));
  }
  if (paced_write(file.get(), value) < 0) {
    return fail(kernel_error("cannot write \"" + value + "\" to " + path, errno));
  }
  return {};
}

}  // namespace

Result<> write_link_sysctl(const Namespace& network_namespace, const std::string& family,
                           const std::string& link, const std::string& key, const std::string& value) {
  return network_namespace.run<void>([&]() -> Result<> {
    if (family == "ipv6" && link_without_ipv6(link)) return {};
    // Writing the same again may cost as much as writing another.
    const auto present = read_value(family, link, key);
    if (present && *present == value) return {};
    return write_value(sysctl_path(family, link, key), value);
  });
}

Result<std::optional<std::string>> read_link_sysctl(const Namespace& network_namespace,
                                                    const std::string& family, const std::string& link,
                                                    const std::string& key) {
  return network_namespace.run<std::optional<std::string>>([&] { return read_value(family, link, key); });
}

}  // namespace vmlane::netlink
