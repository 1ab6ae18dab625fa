// SPDX-License-Identifier: Apache-2.0
#include "perf/cross_check.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <thread>

#include "core/files.h"
#include "core/json.h"
#include "lab/namespaces.h"
#include "perf/statistics.h"

namespace vmlane::perf {
namespace {

constexpr int kTurns = 3;
constexpr std::chrono::seconds kLength{1};
constexpr std::uint32_t kBytes = 64;
constexpr const char* kIperf = "/usr/bin/iperf3";
constexpr const char* kSockperf = "/usr/bin/sockperf";
constexpr const char* kIperfPort = "7101";
constexpr const char* kSockperfPort = "7102";

// Its output goes to a file of the site, since it may be long.
Result<lab::ProcessRef> start(const Site& site, const std::string& pod, std::size_t cpu,
                              const std::vector<std::string>& command, const std::string& output) {
  const Fd file(::open(site.file(output).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file) return fail(io_error("cannot open " + site.file(output).string(), errno));
  lab::Daemon daemon{.command = command, .output = file.get()};
  daemon.prepare = [&] { return lab::enter_namespace(site.namespace_path(pod)); };
  VMLANE_ASSIGN(const auto process, lab::start_daemon(daemon, [](const auto&) { return Result<>(); }));
  site.pin(process, cpu);
  return process;
}

Result<std::string> output_of(const Site& site, const std::string& pod,
                              const std::vector<std::string>& command) {
  constexpr const char* kOutput = "generator.out";
  VMLANE_ASSIGN(const auto process, start(site, pod, 0, command, kOutput));
  int status = 0;
  while (::waitpid(process.pid, &status, 0) < 0 && errno == EINTR) {
  }
  VMLANE_ASSIGN(const auto text, read_file(site.file(kOutput)));
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && text) return *text;
  return fail(Code::kInternal, command.front() + " failed", text.value_or(""));
}

struct Generator {
  CrossCheck about;
  std::vector<std::string> server;
  std::vector<std::string> client;
  Result<double> (*figure)(const std::string& output);
  std::function<Result<double>(const Client&)> own;
};

std::vector<Generator> generators(const IpAddress& address) {
  const std::string at = address.to_string();
  const std::string seconds = std::to_string(kLength.count());
  return {{{"iperf3", "TCP stream", "Gbit/s"},
           {kIperf, "--server", "--port", kIperfPort},
           {kIperf, "--client", at, "--port", kIperfPort, "--time", seconds, "--json"},
           iperf3_gbps,
           [](const Client& client) { return client.tcp_stream(kLength); }},
          {{"sockperf", "UDP round trip of 64 bytes, p50", "us"},
           {kSockperf, "server", "--ip", at, "--port", kSockperfPort},
           {kSockperf, "ping-pong", "--ip", at, "--port", kSockperfPort, "--time", seconds, "--msg-size",
            std::to_string(kBytes), "--full-rtt"},
           sockperf_p50_us,
           [](const Client& client) -> Result<double> {
             VMLANE_ASSIGN(const Block block, client.udp_closed(kBytes, kLength));
             return static_cast<double>(block.histogram.percentile(0.5)) / 1000;
           }}};
}

}  // namespace

Result<double> iperf3_gbps(const std::string& output) {
  const Json json = Json::parse(output, nullptr, false);
  const Json::json_pointer received("/end/sum_received/bits_per_second");
  if (json.is_object() && json.contains(received) && json[received].is_number())
    return json[received].get<double>() / 1e9;
  return fail(Code::kDecode, "iperf3 tells no received bits per second", output);
}

Result<double> sockperf_p50_us(const std::string& output) {
  constexpr std::string_view kKey = "percentile 50.000 =";
  const auto at = output.find(kKey);
  if (at == std::string::npos) return fail(Code::kDecode, "sockperf tells no median", output);
  try {
    return std::stod(output.substr(at + kKey.size()));
  } catch (const std::exception&) {
    return fail(Code::kDecode, "sockperf's median is no number", output);
  }
}

Result<std::vector<CrossCheck>> cross_check(const Site& site, const std::string& client_pod,
                                            const std::string& pod, const IpAddress& address,
                                            const Interrupted& interrupted) {
  std::vector<CrossCheck> checks;
  VMLANE_ASSIGN(const auto client_namespace, site.pod(client_pod));
  const Client client(client_namespace, {address}, interrupted);
  for (const Generator& generator : generators(address)) {
    CrossCheck check = generator.about;
    if (::access(generator.server.front().c_str(), X_OK) != 0) {
      check.skipped = "it is not installed";
      checks.push_back(std::move(check));
      continue;
    }
    VMLANE_ASSIGN(const auto server, start(site, pod, 1, generator.server, "generator.log"));
    std::this_thread::sleep_for(std::chrono::milliseconds(500));  // neither says when it listens
    std::vector<double> own;
    std::vector<double> other;
    for (int turn = 0; turn < kTurns && !interrupted(); turn++) {
      VMLANE_ASSIGN(const std::string said, output_of(site, client_pod, generator.client));
      VMLANE_ASSIGN(const double its, generator.figure(said));
      VMLANE_ASSIGN(const double ours, generator.own(client));
      other.push_back(its);
      own.push_back(ours);
    }
    VMLANE_TRY(lab::stop_processes({server}, std::chrono::seconds(2)));
    check.own = median(own);
    check.other = median(other);
    checks.push_back(std::move(check));
  }
  return checks;
}

}  // namespace vmlane::perf
