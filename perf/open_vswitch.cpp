// SPDX-License-Identifier: Apache-2.0
#include "perf/open_vswitch.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

#include "core/files.h"
#include "lab/namespaces.h"

namespace vmlane::perf {
namespace {

namespace fs = std::filesystem;

// Where Debian's packages openvswitch-common, openvswitch-switch and openvswitch-switch-dpdk have them.
constexpr const char* kDaemon = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";
constexpr const char* kDatabase = "/usr/sbin/ovsdb-server";
constexpr const char* kDatabaseTool = "/usr/bin/ovsdb-tool";
constexpr const char* kControl = "/usr/bin/ovs-vsctl";
constexpr const char* kSchema = "/usr/share/openvswitch/vswitch.ovsschema";
constexpr const char* kFreeHugePages = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";

constexpr unsigned kMemoryMib = 256;
constexpr unsigned kHugePageMib = 2;

class Starter {
 public:
  explicit Starter(const OvsPlace& place) : place_(place) {}

  Result<lab::ProcessRef> daemon(std::vector<std::string> command) const {
    const fs::path log = file("ovs.log");
    const Fd output(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    if (!output) return fail(io_error("cannot open " + log.string(), errno));
    lab::Daemon daemon{.command = std::move(command), .output = output.get()};
    daemon.prepare = [this]() -> Result<> {
      // Nothing of an Open vSwitch of the machine's is found or changed.
      for (const char* name : {"OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"}) {
        if (::setenv(name, place_.directory.c_str(), 1) != 0)
          return fail(io_error(std::string("cannot set ") + name, errno));
      }
      return lab::enter_namespace(place_.network_namespace);
    };
    return lab::start_daemon(daemon, [](const auto&) { return Result<>(); });
  }

  Result<> tool(const std::vector<std::string>& command) const {
    VMLANE_ASSIGN(const auto process, daemon(command));
    int status = 0;
    while (::waitpid(process.pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
    const auto said = read_file(file("ovs.log"));
    return fail(Code::kInternal, command.front() + " failed", said && *said ? **said : std::string());
  }

  fs::path file(const char* name) const { return place_.directory / name; }
  std::string socket() const { return "unix:" + file("db.sock").string(); }
  std::vector<std::string> control(const std::vector<std::string>& arguments) const {
    std::vector<std::string> command = {kControl, "--db=" + socket(), "--retry", "--timeout=30"};
    command.insert(command.end(), arguments.begin(), arguments.end());
    return command;
  }

 private:
  const OvsPlace& place_;
};

// A set of one CPU, as Open vSwitch takes it.
std::string cpu_mask(int cpu) {
  constexpr int kBitsOfADigit = 4;
  return "0x" + std::to_string(1 << (cpu % kBitsOfADigit)) +
         std::string(static_cast<std::size_t>(cpu / kBitsOfADigit), '0');
}

std::vector<std::string> settings(const OvsPlace& place) {
  std::vector<std::string> list = {
      "--no-wait", "init", "--", "set", "Open_vSwitch", ".", "other_config:dpdk-init=true",
      // In memory: no files that outlive it, none that another DPDK program would meet.
      "other_config:dpdk-extra=--no-pci --in-memory --no-telemetry",
      "other_config:dpdk-socket-mem=" + std::to_string(kMemoryMib)};
  if (place.polling_cpu) list.push_back("other_config:pmd-cpu-mask=" + cpu_mask(*place.polling_cpu));
  if (place.main_cpu) list.push_back("other_config:dpdk-lcore-mask=" + cpu_mask(*place.main_cpu));
  return list;
}

}  // namespace

Result<> have_ovs_dpdk() {
  for (const char* file : {kDaemon, kDatabase, kDatabaseTool, kControl, kSchema}) {
    if (::access(file, R_OK) != 0)
      return fail(Code::kNotAvailable, std::string("there is no ") + file,
                  "install the package openvswitch-switch-dpdk");
  }
  const auto text = read_file(kFreeHugePages);
  unsigned pages = 0;
  if (text && *text) std::from_chars((*text)->data(), (*text)->data() + (*text)->size(), pages);
  if (pages * kHugePageMib >= kMemoryMib) return {};
  return fail(
      Code::kNotAvailable,
      "Open vSwitch wants " + std::to_string(kMemoryMib) + " MiB of huge pages, and " +
          std::to_string(pages * kHugePageMib) + " MiB of 2 MiB pages are free",
      "reserve them by sysctl vm.nr_hugepages=" + std::to_string(kMemoryMib / kHugePageMib) + " or more");
}

Result<> start_ovs_dpdk(const OvsPlace& place, OvsProcesses& processes) {
  const Starter starter(place);
  const std::string database = starter.file("conf.db");
  VMLANE_TRY(starter.tool({kDatabaseTool, "create", database, kSchema}));
  VMLANE_ASSIGN(processes.database,
                starter.daemon({kDatabase, database, "--remote=p" + starter.socket(),
                                "--unixctl=" + starter.file("database.ctl").string(), "-vsyslog:off"}));
  VMLANE_TRY(starter.tool(starter.control(settings(place))));
  VMLANE_ASSIGN(processes.daemon,
                starter.daemon({kDaemon, starter.socket(), "--unixctl=" + starter.file("daemon.ctl").string(),
                                "-vconsole:warn", "-vsyslog:off"}));
  // Returns when the daemon has done it.
  return starter.tool(starter.control({"add-br",
                                       "ovs0",
                                       "--",
                                       "set",
                                       "bridge",
                                       "ovs0",
                                       "datapath_type=netdev",
                                       "--",
                                       "add-port",
                                       "ovs0",
                                       kOvsUplink,
                                       "--",
                                       "set",
                                       "interface",
                                       kOvsUplink,
                                       "type=internal",
                                       "--",
                                       "add-port",
                                       "ovs0",
                                       "guest0",
                                       "--",
                                       "set",
                                       "interface",
                                       "guest0",
                                       "type=dpdkvhostuserclient",
                                       "options:vhost-server-path=" + starter.file(kOvsSocket).string()}));
}

}  // namespace vmlane::perf
