// SPDX-License-Identifier: Apache-2.0
#include "tests/vm/guest.h"

#include <map>
#include <sstream>

#include "tests/support/process.h"

namespace vmlane::test {
namespace {

lab::GuestFiles build(const std::vector<std::string>& arguments) {
  std::vector<std::string> command = {VMLANE_SOURCE_DIR "/scripts/guest-image"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  const auto built = run(command, {.timeout = std::chrono::minutes(5)});
  lab::GuestFiles files;
  std::istringstream lines(built.out);
  std::string what;
  std::string path;
  while (lines >> what >> path) {
    if (what == "kernel") files.kernel = path;
    if (what == "initramfs") files.initramfs = path;
  }
  return files;
}

}  // namespace

const lab::GuestFiles& guest_image() {
  static const lab::GuestFiles image = build({});
  return image;
}

const lab::GuestFiles& node_guest_image(const std::string& kernel) {
  static std::map<std::string, lab::GuestFiles> images;
  const auto [image, missing] = images.try_emplace(kernel);
  if (missing) image->second = build({"--full", "--kernel", kernel});
  return image->second;
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
