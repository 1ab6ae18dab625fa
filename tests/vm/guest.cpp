// SPDX-License-Identifier: Apache-2.0
#include "tests/vm/guest.h"

#include <filesystem>
#include <map>
#include <sstream>

#include "tests/support/paths.h"
#include "tests/support/process.h"

namespace vmlane::test {
namespace {

// The paths that scripts/guest-image prints, by what they are of.
std::map<std::string, std::filesystem::path> build(const std::vector<std::string>& arguments) {
  std::vector<std::string> command = {source_file("scripts/guest-image")};
  command.insert(command.end(), arguments.begin(), arguments.end());
  const auto built = run(command, {.timeout = std::chrono::minutes(5)});
  std::map<std::string, std::filesystem::path> paths;
  std::istringstream lines(built.out);
  std::string what;
  std::string path;
  while (lines >> what >> path) paths[what] = path;
  return paths;
}

lab::GuestFiles guest_files(std::map<std::string, std::filesystem::path> paths) {
  return {paths["kernel"], paths["initramfs"]};
}

}  // namespace

const lab::GuestFiles& guest_image() {
  static const lab::GuestFiles image = guest_files(build({}));
  return image;
}

const lab::GuestFiles& node_guest_image(const std::string& kernel) {
  static std::map<std::string, lab::GuestFiles> images;
  const auto [image, missing] = images.try_emplace(kernel);
  if (missing) image->second = guest_files(build({"--full", "--kernel", kernel}));
  return image->second;
}

const CloudInitImage& cloud_init_image() {
  static const CloudInitImage image = [] {
    auto paths = build({"--cloud-init"});
    return CloudInitImage{guest_files(paths), paths["cloud-init"]};
  }();
  return image;
}

GuestResult guest_run(lab::GuestChannel& channel, const std::string& command, unsigned limit) {
  GuestResult result;
  const auto status = channel.run(
      command, limit, [&](std::string_view bytes) { result.out += bytes; },
      [&](std::string_view bytes) { result.err += bytes; }, [] { return false; });
  if (status)
    result.status = *status;
  else
    result.err = status.error().text();
  return result;
}

}  // namespace vmlane::test
