// SPDX-License-Identifier: Apache-2.0
#include "perf/site.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "core/exec.h"
#include "core/files.h"
#include "core/hash.h"
#include "lab/namespaces.h"
#include "lab/switch_process.h"
#include "perf/networks.h"
#include "perf/timing.h"

namespace vmlane::perf {
namespace {

namespace fs = std::filesystem;

constexpr auto kGrace = std::chrono::seconds(2);
// Locks the directory, and marks it as one of ours: no other is ever cleared.
constexpr const char* kLock = "vmlane-perf.lock";

// One site has the pins of its programs below the machine's one BPF file system.
fs::path bpf_dir(const fs::path& root) {
  return fs::path("/sys/fs/bpf") / ("vmlane-perf-" + sha256_hex(root.string()).substr(0, 12));
}

Json node_config_json(const fs::path& root) {
  return {{"stateDir", (root / "state").string()},
          {"runDir", (root / "run").string()},
          {"bpfDir", bpf_dir(root).string()},
          {"logFile", (root / "vmlane.log").string()}};
}

std::vector<fs::path> namespaces_in(const fs::path& root) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entry(root / "netns", error), end; !error && entry != end;
       entry.increment(error))
    found.push_back(entry->path());
  return found;
}

Result<> remove_tree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);  // does not follow symlinks
  if (error) return fail(Code::kIo, "cannot remove " + path.string(), error.message());
  return {};
}

// Everything but the directory itself and its lock. With the node's namespace go all links in it.
Result<> clear(const fs::path& root) {
  const auto namespaces = namespaces_in(root);
  VMLANE_TRY(lab::stop_processes(lab::processes_inside(namespaces), kGrace));
  for (const fs::path& path : namespaces) VMLANE_TRY(lab::remove_namespace(path));
  VMLANE_TRY(remove_tree(bpf_dir(root)));
  std::error_code error;
  std::vector<fs::path> entries;
  for (fs::directory_iterator entry(root, error), end; !error && entry != end; entry.increment(error))
    if (entry->path().filename() != kLock) entries.push_back(entry->path());
  for (const fs::path& path : entries) VMLANE_TRY(remove_tree(path));
  return {};
}

// A directory of ours, or an empty one: never anybody else's files.
Result<Fd> lock_directory(const fs::path& root) {
  VMLANE_TRY(make_directory(root, {.mode = 0755}));
  std::error_code error;
  if (!fs::is_empty(root, error) && !fs::exists(root / kLock, error))
    return fail(Code::kConflict, "directory " + root.string() + " is not empty and no run left it so",
                "name another with --dir");
  Fd lock(::open((root / kLock).c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!lock) return fail(io_error("cannot open " + (root / kLock).string(), errno));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
    return fail(Code::kTryAgain, "another vmlane-perf works in " + root.string(),
                "wait for it, or name another directory with --dir");
  return lock;
}

bool has_left_overs(const fs::path& root) {
  std::error_code error;
  for (fs::directory_iterator entry(root, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->path().filename() != kLock) return true;
  }
  return false;
}

void pin_thread(pid_t thread, int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(cpu), &set);
  ::sched_setaffinity(thread, sizeof set, &set);
}

Result<> await_ready(const Fd& output, const std::string& name) {
  constexpr int kLimit = 5000;
  std::string text;
  pollfd watched{output.get(), POLLIN, 0};
  while (::poll(&watched, 1, kLimit) > 0) {
    std::array<char, 256> buffer{};
    const ssize_t got = ::read(output.get(), buffer.data(), buffer.size());
    if (got <= 0) break;
    text.append(buffer.data(), static_cast<std::size_t>(got));
    if (text.find("ready\n") != std::string::npos) return {};
  }
  return fail(Code::kInternal, name + " did not get ready", text);
}

}  // namespace

Result<IpAddress> Attached::address() const {
  VMLANE_ASSIGN(const IpPrefix whole, prefix());
  return whole.address;
}

Result<IpPrefix> Attached::prefix() const {
  const auto ip =
      std::ranges::find_if(result.ips, [](const auto& entry) { return !entry.address.address.v6; });
  if (ip != result.ips.end()) return ip->address;
  return fail(Code::kInvalidConfig, "the network gave the pod no IPv4 address",
              "its ipam needs an IPv4 range");
}

Result<MacAddress> Attached::mac() const {
  for (const auto& interface : result.interfaces) {
    if (!interface.sandbox.empty() && interface.name == "eth0") return MacAddress::parse(interface.mac);
  }
  return fail(Code::kInternal, "the plugin's result names no eth0 in the pod");
}

std::optional<std::uint32_t> Attached::mtu() const {
  for (const auto& interface : result.interfaces) {
    if (!interface.sandbox.empty() && interface.name == "eth0") return interface.mtu;
  }
  return std::nullopt;
}

Result<multus::ObjectStore> load_networks(const std::optional<fs::path>& file) {
  if (file) return multus::ObjectStore::load({*file});
  multus::ObjectStore store;
  VMLANE_TRY(store.add_text(kNetworks, "built-in networks.yaml"));
  return store;
}

Result<std::unique_ptr<Site>> Site::open(const SiteOptions& options, bool& left_over) {
  std::unique_ptr<Site> site(new Site(options));
  VMLANE_ASSIGN(site->networks_, load_networks(options.networks));
  VMLANE_TRY(site->set_up(left_over));
  return site;
}

Result<> Site::set_up(bool& left_over) {
  closed_ = true;  // until there is something to close
  VMLANE_ASSIGN(lock_, lock_directory(options_.root));
  left_over = has_left_overs(options_.root);
  if (left_over) VMLANE_TRY(clear(options_.root));
  closed_ = false;
  const fs::path node_json = file("node.json");
  VMLANE_TRY(
      write_file_atomically(node_json, node_config_json(options_.root).dump(2) + "\n", {.mode = 0644}));
  // A VM's user passes through both to what is its own.
  for (const char* directory : {"netns", "run"}) VMLANE_TRY(make_directory(file(directory), {.mode = 0755}));
  Invocation invocation;
  invocation.env["VMLANE_CONFIG"] = node_json.string();
  VMLANE_ASSIGN(config_, load_node_config(invocation));
  VMLANE_TRY(lab::create_namespace(namespace_path(kNode)));
  if (!options_.cpus.empty()) pin_thread(0, options_.cpus.front());
  return {};
}

Site::~Site() {
  if (!closed_) [[maybe_unused]]
    const auto closed = close();
}

Result<> Site::close() {
  closed_ = true;
  VMLANE_TRY(clear(options_.root));
  lock_ = Fd();
  return remove_tree(options_.root);
}

Result<> Site::make_pod(const std::string& pod) {
  return lab::create_namespace(namespace_path(pod));
}

Result<netlink::Namespace> Site::pod(const std::string& name) const {
  return netlink::Namespace::open(namespace_path(name).string());
}

Result<Json> Site::network_config(const std::string& network) const {
  const auto* nad = networks_.find_network("default", network);
  if (nad == nullptr)
    return fail(Code::kNotFound,
                "there is no NetworkAttachmentDefinition default/" + network + " in " + networks_.searched());
  VMLANE_ASSIGN(Json config, parse_json(nad->config, "spec.config of " + nad->id()));
  // A run leaves nothing in the node's own address store.
  if (config.contains("ipam") && config["ipam"].value("type", "") == "host-local")
    config["ipam"]["dataDir"] = file("ipam").string();
  return config;
}

Result<std::string> Site::call_plugin(const std::string& pod, const Json& config,
                                      std::string_view command) const {
  std::string cni_path = options_.bin_dir.string();
  for (const fs::path& directory : options_.cni_dirs) cni_path += ":" + directory.string();
  const std::string container = sha256_hex(options_.root.string() + '\0' + pod);
  const Environment env = {{"CNI_COMMAND", std::string(command)},
                           {"CNI_CONTAINERID", container},
                           {"CNI_NETNS", namespace_path(pod).string()},
                           {"CNI_IFNAME", "eth0"},
                           {"CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=perf;K8S_POD_NAME=" + pod +
                                            ";K8S_POD_INFRA_CONTAINER_ID=" + container},
                           {"CNI_PATH", cni_path},
                           {"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
                           {"VMLANE_CONFIG", file("node.json").string()}};
  VMLANE_ASSIGN(const fs::path program, find_plugin(cni_path, config.value("type", "")));
  VMLANE_ASSIGN(const auto node, netlink::Namespace::open(namespace_path(kNode).string()));
  return node.run<std::string>([&] { return run_plugin(program, env, to_text(config)); });
}

Result<Attached> Site::attach(const std::string& pod, const std::string& network) {
  VMLANE_ASSIGN(const Json config, network_config(network));
  attached_[pod] = {network, config};
  Attached out;
  out.started_ns = now_ns();
  VMLANE_ASSIGN(const std::string answer, call_plugin(pod, config, "ADD"));
  out.add_ms = static_cast<double>(now_ns() - out.started_ns) / 1e6;
  const std::string what = "result of " + config.value("type", "");
  VMLANE_ASSIGN(const Json json, parse_json(answer, what));
  VMLANE_ASSIGN(out.result, cni::CniResult::from_json(json, cni::kNewestVersion, what));
  return out;
}

Result<std::optional<double>> Site::remove_pod(const std::string& pod) {
  const fs::path path = namespace_path(pod);
  VMLANE_TRY(lab::stop_processes(lab::processes_inside({path}), kGrace));
  VMLANE_TRY(lab::stop_processes(std::exchange(outside_[pod], {}), kGrace));
  std::optional<double> took;
  if (const auto found = attached_.find(pod); found != attached_.end()) {
    const std::uint64_t before = now_ns();
    VMLANE_TRY(call_plugin(pod, found->second.config, "DEL"));
    took = static_cast<double>(now_ns() - before) / 1e6;
    attached_.erase(found);
  }
  VMLANE_TRY(lab::remove_namespace(path));
  return took;
}

void Site::end_with_pod(const std::string& pod, const lab::ProcessRef& process) {
  outside_[pod].push_back(process);
}

Result<NamedProcess> Site::need_switch() {
  constexpr const char* kName = "switch";
  if (switch_ && lab::is_alive(*switch_)) return NamedProcess{kName, *switch_};
  const lab::SwitchPlace place{.program = options_.bin_dir / "vmlane-keeper",
                               .network_namespace = namespace_path(kNode),
                               .output = file("switch.log")};
  VMLANE_ASSIGN(switch_, lab::start_switch(place, config_, [](const auto&) { return Result<>(); }));
  return NamedProcess{kName, *switch_};
}

Result<NamedProcess> Site::start(const std::string& pod, const std::string& name,
                                 const std::vector<std::string>& arguments) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail(io_error("cannot make a pipe", errno));
  const Fd reader(ends[0]);
  Fd writer(ends[1]);
  lab::Daemon daemon{.command = {"/proc/self/exe"}, .output = writer.get()};
  daemon.command.insert(daemon.command.end(), arguments.begin(), arguments.end());
  daemon.prepare = [&]() -> Result<> {
    if (options_.cpus.size() > 1) pin_thread(0, options_.cpus[1]);
    return lab::enter_namespace(namespace_path(pod));
  };
  VMLANE_ASSIGN(const auto process, lab::start_daemon(daemon, [](const auto&) { return Result<>(); }));
  writer = Fd();
  VMLANE_TRY(await_ready(reader, name));
  return NamedProcess{name, process};
}

void Site::pin(const lab::ProcessRef& process, std::size_t cpu) const {
  if (options_.cpus.size() <= cpu) return;
  std::error_code error;
  const fs::path tasks = "/proc/" + std::to_string(process.pid) + "/task";
  for (fs::directory_iterator entry(tasks, error), end; !error && entry != end; entry.increment(error))
    pin_thread(std::stoi(entry->path().filename().string()), options_.cpus[cpu]);
}

}  // namespace vmlane::perf
