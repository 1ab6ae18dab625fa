// SPDX-License-Identifier: Apache-2.0
#include "tests/support/host.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace vmlane::test {

namespace fs = std::filesystem;

namespace {

void require(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error(what + ": " + std::strerror(errno));
}

Fd own_namespace(const char* kind) {
  Fd fd(::open((std::string("/proc/self/ns/") + kind).c_str(), O_RDONLY | O_CLOEXEC));
  require(static_cast<bool>(fd), kind);
  return fd;
}

// Private mounts over /run and /sys: /run/netns and a default runDir start empty, /sys/class/net shows the
// new namespace's links.
void mount_private_directories() {
  require(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "make mounts private");
  require(::mount("tmpfs", "/run", "tmpfs", 0, "mode=0755") == 0, "mount /run");
  require(::mkdir("/run/netns", 0755) == 0, "mkdir /run/netns");
  require(::mount("sysfs", "/sys", "sysfs", 0, nullptr) == 0, "mount /sys");
  ::mount("bpf", "/sys/fs/bpf", "bpf", 0,
          "mode=0700");  // a kernel without bpffs is met by the tests that need it
}

}  // namespace

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = (fs::temp_directory_path() / "vmlane-test-XXXXXX").string();
  require(::mkdtemp(pattern.data()) != nullptr, "mkdtemp");
  path_ = pattern;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

Pod::Pod(std::string name) : name_(std::move(name)) {
  const auto made = test::run({"ip", "netns", "add", name_});
  if (!made.ok()) throw std::runtime_error("ip netns add " + name_ + ": " + made.err);
  run({"ip", "link", "set", "lo", "up"});
}

Pod::~Pod() {
  remove();
}

RunResult Pod::run(const std::vector<std::string>& argv, RunOptions options) const {
  options.netns = path();
  return test::run(argv, options);
}

void Pod::remove() {
  if (fs::exists(path())) test::run({"ip", "netns", "del", name_});
}

Json ip_json(const std::string& netns, const std::vector<std::string>& arguments) {
  std::vector<std::string> argv = {"ip", "-j"};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  const auto result = run(argv, {.netns = netns});
  EXPECT_TRUE(result.ok()) << "ip " << arguments.front() << " in " << netns << ": " << result.err;
  if (!result.ok() || result.out.find_first_not_of(" \n") == std::string::npos) return Json::array();
  return Json::parse(result.out);
}

Json link_of(const std::string& netns, const std::string& name) {
  for (const Json& link : ip_json(netns, {"-d", "link"})) {
    if (link.value("ifname", "") == name) return link;
  }
  return nullptr;
}

bool await_active(const std::string& netns, const std::string& link) {
  return eventually([&] {
    const Json state = link_of(netns, link);
    return state.value("operstate", "") == "UP" && state.value("qdisc", "noop") != "noop";
  });
}

std::vector<std::string> link_names(const std::string& netns) {
  std::vector<std::string> names;
  for (const Json& link : ip_json(netns, {"link"})) names.push_back(link.value("ifname", ""));
  std::ranges::sort(names);
  return names;
}

std::vector<std::string> addresses_of(const std::string& netns, const std::string& link) {
  std::vector<std::string> found;
  for (const Json& entry : ip_json(netns, {"addr"})) {
    if (entry.value("ifname", "") != link) continue;
    for (const Json& address : entry.value("addr_info", Json::array())) {
      const std::string text = address.value("local", "");
      if (!text.starts_with("fe80:"))
        found.push_back(text + "/" + std::to_string(address.value("prefixlen", 0)));
    }
  }
  return found;
}

std::string slurp(const fs::path& path) {
  const std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

void spit(const fs::path& path, std::string_view content) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << content;
  out.close();
  if (!out) throw std::runtime_error("cannot write " + path.string());
}

std::string HostFixture::outside() {
  std::ostringstream seen;
  const auto links = test::run({"ip", "-br", "link"});
  std::istringstream lines(links.out);
  for (std::string line; std::getline(lines, line);)
    seen << "link " << line.substr(0, line.find(' ')) << "\n";
  for (const char* path : {"/run/vmlane", "/var/lib/vmlane", "/var/log/vmlane", "/var/lib/cni",
                           "/sys/fs/bpf/vmlane", "/etc/cni/net.d/vmlane.d"}) {
    std::error_code error;
    if (!fs::exists(path, error)) continue;
    seen << "path " << path << "\n";
    for (const auto& entry : fs::recursive_directory_iterator(path, error))
      seen << "path " << entry.path().string() << "\n";
  }
  return seen.str();
}

void HostFixture::SetUp() {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: makes network namespaces";
  outside_before_ = outside();
  outer_net_ = own_namespace("net");
  outer_mount_ = own_namespace("mnt");
  require(::unshare(CLONE_NEWNET | CLONE_NEWNS) == 0, "unshare");
  mount_private_directories();
  must({"ip", "link", "set", "lo", "up"});
  directory_ = std::make_unique<TemporaryDirectory>();
  fs::create_directory(ipam_dir());
  configure_node(Json::object());
}

void HostFixture::TearDown() {
  if (!outer_net_) return;
  pods_.clear();
  ASSERT_EQ(::setns(outer_net_.get(), CLONE_NEWNET), 0) << std::strerror(errno);
  ASSERT_EQ(::setns(outer_mount_.get(), CLONE_NEWNS), 0) << std::strerror(errno);
  EXPECT_EQ(outside(), outside_before_) << "the test changed something of the machine";
}

Pod& HostFixture::make_pod(const std::string& name) {
  pods_.erase(name);  // the old one's end would remove the new one
  return *pods_.emplace(name, std::make_unique<Pod>(name)).first->second;
}

void HostFixture::must(const std::vector<std::string>& argv) const {
  const auto result = run(argv);
  std::string text;
  for (const std::string& word : argv) text += word + " ";
  ASSERT_TRUE(result.ok()) << text << "failed: " << result.err;
}

void HostFixture::configure_node(const Json& keys) {
  Json json = {{"stateDir", (directory() / "state").string()},
               {"runDir", (directory() / "run").string()},
               {"bpfDir", "/sys/fs/bpf/vmlane"},
               {"logFile", log_file().string()},
               {"logLevel", "debug"}};
  json.update(keys);
  spit(node_json(), json.dump(1));
  Invocation invocation;
  invocation.env["VMLANE_CONFIG"] = node_json().string();
  const auto config = load_node_config(invocation);
  ASSERT_TRUE(config) << config.error().text();
  node_ = *config;
}

}  // namespace vmlane::test
