// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/files.h"
#include "core/json.h"
#include "core/node_config.h"
#include "tests/support/process.h"

namespace vmlane::test {

// A directory of its own under the system's temporary directory, removed with the object.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// A network namespace of a pod, mounted at /run/netns/<name> as a container runtime does it, with lo up.
class Pod {
 public:
  explicit Pod(std::string name);
  ~Pod();
  Pod(const Pod&) = delete;
  Pod& operator=(const Pod&) = delete;

  const std::string& name() const { return name_; }
  std::string path() const { return "/run/netns/" + name_; }
  // Runs a command inside.
  RunResult run(const std::vector<std::string>& argv, RunOptions options = {}) const;
  // Unmounts and removes the namespace, as when a pod ends before its DEL. Twice is fine.
  void remove();

 private:
  std::string name_;
};

// `ip -j <arguments>` in the namespace at `netns` (empty: the caller's). The test fails when ip does; then
// the value is an empty array.
Json ip_json(const std::string& netns, const std::vector<std::string>& arguments);
// The entry of `ip -d -j link` for a link, null when there is none.
Json link_of(const std::string& netns, const std::string& name);
// Waits until the kernel has taken notice of a link's carrier, which it does a moment after it is there;
// until then the link drops what is sent over it. False when that does not happen.
bool await_active(const std::string& netns, const std::string& link);
// Names of all links, sorted.
std::vector<std::string> link_names(const std::string& netns);
// "192.0.2.5/24" and the like of a link, without IPv6 link-local ones.
std::vector<std::string> addresses_of(const std::string& netns, const std::string& link);

// Whole content of a file, empty when it cannot be read.
std::string slurp(const std::filesystem::path& path);
void spit(const std::filesystem::path& path, std::string_view content);

// A node of its own for one test: a private network namespace ("the host", lo up, a fresh /sys), a private
// mount namespace with an empty /run and /run/netns, and a temporary directory with node.json and all
// directories that it names. Nothing of the machine is touched; TearDown checks that. Skips without root.
class HostFixture : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  // Makes the pod's namespace; it lives as long as the test unless removed.
  Pod& make_pod(const std::string& name);
  // Runs a command on the host.
  RunResult run(const std::vector<std::string>& argv, const RunOptions& options = {}) const {
    return test::run(argv, options);
  }
  // The same, and the test fails when the command does.
  void must(const std::vector<std::string>& argv) const;

  const std::filesystem::path& directory() const { return directory_->path(); }
  std::filesystem::path node_json() const { return directory() / "node.json"; }
  std::filesystem::path ipam_dir() const { return directory() / "ipam"; }
  std::filesystem::path log_file() const { return directory() / "vmlane.log"; }
  const NodeConfig& node() const { return node_; }
  // Writes node.json again, with these keys over the fixture's.
  void configure_node(const Json& keys);
  const std::map<std::string, std::unique_ptr<Pod>>& pods() const { return pods_; }

 private:
  // What a test must not change: the machine's links and the directories of a node without a node config.
  static std::string outside();

  std::unique_ptr<TemporaryDirectory> directory_;
  NodeConfig node_;
  std::map<std::string, std::unique_ptr<Pod>> pods_;
  Fd outer_net_;
  Fd outer_mount_;
  std::string outside_before_;
};

}  // namespace vmlane::test
