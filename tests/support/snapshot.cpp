// SPDX-License-Identifier: Apache-2.0
#include "tests/support/snapshot.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>

#include "ebpf/policy.h"
#include "ebpf/workload.h"

namespace vmlane::test {

namespace fs = std::filesystem;

namespace {

// Keys of `ip -d -j link`, at any depth, that change without anybody's doing.
bool is_volatile(std::string_view key) {
  return key == "operstate" || key == "linkmode" || key.starts_with("stats") || key.starts_with("tso_max_") ||
         key.ends_with("_timer") || key.starts_with("topology_change") || key == "state" ||
         key.starts_with("designated_") || key == "config_pending";
}

// One line an attribute, "<link> <path> = <value>". Carrier flags go, since they follow the peer.
std::string links(const std::string& netns) {
  std::set<std::string> lines;
  for (const Json& link : ip_json(netns, {"-d", "link"})) {
    const std::string name = link.value("ifname", "");
    const Json flat = link.flatten();
    for (const auto& [path, value] : flat.items()) {
      if (path.starts_with("/flags/") || is_volatile(path.substr(path.rfind('/') + 1))) continue;
      lines.insert(name + " " + path + " = " + value.dump());
    }
    for (const Json& flag : link["flags"]) {
      if (flag != "NO-CARRIER" && flag != "LOWER_UP" && flag != "M-DOWN")
        lines.insert(name + " flag " + flag.dump());
    }
  }
  std::string out;
  for (const std::string& line : lines) out += line + "\n";
  return out;
}

std::string addresses(const std::string& netns) {
  std::string out;
  for (const std::string& link : link_names(netns)) {
    for (const std::string& address : addresses_of(netns, link)) out += link + " " + address + "\n";
  }
  return out;
}

std::string routes(const std::string& netns) {
  std::set<std::string> lines;
  for (const char* family : {"-4", "-6"}) {
    for (Json route : ip_json(netns, {family, "route", "show", "table", "all"})) {
      const std::string destination = route.value("dst", "");
      if (destination.starts_with("fe80") || destination.starts_with("ff00")) continue;
      route.erase("flags");
      lines.insert(route.dump());
    }
  }
  std::string out;
  for (const std::string& line : lines) out += line + "\n";
  return out;
}

std::string output_of(const std::vector<std::string>& argv, const std::string& netns) {
  const auto result = run(argv, {.netns = netns});
  EXPECT_TRUE(result.ok()) << argv[0] << ": " << result.err;
  return result.out;
}

// Multicast memberships come and go with the kernel's own addresses.
std::string forwarding(const std::string& netns) {
  std::set<std::string> lines;
  std::istringstream in(output_of({"bridge", "fdb", "show"}, netns));
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with("33:33:") && !line.starts_with("01:00:5e:")) lines.insert(line);
  }
  std::string out;
  for (const std::string& line : lines) out += line + "\n";
  return out;
}

bool meant_to_stay(const fs::path& path) {
  const std::string name = path.filename().string();
  return path.extension() == ".lock" || name == "lock" || name == "networks" || name == "boot" ||
         name == "ifindex" || path.parent_path().filename() == "programs" || name.starts_with("workload_") ||
         name.starts_with("policy_") || name.starts_with("last_reserved_ip");
}

// Files with their content, sockets and other things by name; empty directories do not count.
std::string files(const fs::path& root) {
  std::set<std::string> lines;
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(root, error)) {
    if (meant_to_stay(entry.path()) || entry.is_directory()) continue;
    const std::string content =
        entry.is_regular_file() ? slurp(entry.path()) : std::string("(no regular file)");
    lines.insert(fs::relative(entry.path(), root).string() + ": " + content);
  }
  std::string out;
  for (const std::string& line : lines) out += line + "\n";
  return out;
}

std::string names_in(const fs::path& root) {
  std::set<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root, error))
    names.insert(entry.path().filename().string());
  std::string out;
  for (const std::string& name : names) out += name + "\n";
  return out;
}

// What the kernel programs of the node know.
std::string workloads(const fs::path& run_dir) {
  std::string out;
  const auto ids = ebpf::known_workloads(run_dir);
  if (!ids) return ids.error().text();
  for (const std::string& id : *ids) out += id + "\n";
  const auto policed = ebpf::policed_workloads(run_dir);
  if (!policed) return policed.error().text();
  for (const std::string& id : *policed) out += "policy " + id + "\n";
  return out;
}

void add_network(Snapshot& snapshot, const std::string& where, const std::string& netns) {
  snapshot[where + " links"] = links(netns);
  snapshot[where + " addresses"] = addresses(netns);
  snapshot[where + " routes"] = routes(netns);
  snapshot[where + " fdb"] = forwarding(netns);
  snapshot[where + " qdiscs"] = output_of({"tc", "qdisc", "show"}, netns);
  snapshot[where + " nft"] = output_of({"nft", "list", "ruleset"}, netns);
}

std::multiset<std::string> lines_of(const std::string& text) {
  std::multiset<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.insert(line);
  return lines;
}

std::string section(const Snapshot& snapshot, const std::string& name) {
  const auto it = snapshot.find(name);
  return it == snapshot.end() ? std::string() : it->second;
}

}  // namespace

Snapshot take_snapshot(const NodeConfig& node, const fs::path& ipam_dir,
                       const std::map<std::string, std::unique_ptr<Pod>>& pods) {
  Snapshot snapshot;
  add_network(snapshot, "host", "");
  for (const auto& [name, pod] : pods) {
    if (fs::exists(pod->path())) add_network(snapshot, "pod " + name, pod->path());
  }
  snapshot["ipam"] = files(ipam_dir);
  snapshot["state"] = files(node.state_dir);
  snapshot["run"] = files(node.run_dir);
  snapshot["bpf"] = files(node.bpf_dir);
  snapshot["workloads"] = workloads(node.run_dir);
  snapshot["namespaces"] = names_in("/run/netns");
  return snapshot;
}

std::string difference(const Snapshot& before, const Snapshot& after) {
  std::set<std::string> names;
  for (const auto& [name, text] : before) names.insert(name);
  for (const auto& [name, text] : after) names.insert(name);
  std::string out;
  for (const std::string& name : names) {
    if (section(before, name) == section(after, name)) continue;
    const auto old_lines = lines_of(section(before, name));
    const auto new_lines = lines_of(section(after, name));
    std::vector<std::string> gone;
    std::vector<std::string> come;
    std::ranges::set_difference(old_lines, new_lines, std::back_inserter(gone));
    std::ranges::set_difference(new_lines, old_lines, std::back_inserter(come));
    out += name + "\n";
    for (const std::string& line : gone) out += "  - " + line + "\n";
    for (const std::string& line : come) out += "  + " + line + "\n";
  }
  return out;
}

}  // namespace vmlane::test
