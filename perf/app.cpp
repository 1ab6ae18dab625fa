// SPDX-License-Identifier: Apache-2.0
#include "perf/app.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <filesystem>
#include <functional>
#include <iomanip>
#include <memory>
#include <ostream>

#include "core/files.h"
#include "lab/interrupt.h"
#include "lab/progress.h"
#include "perf/compare.h"
#include "perf/html_report.h"
#include "perf/machine.h"
#include "perf/native_guest.h"
#include "perf/responder.h"
#include "perf/result.h"
#include "perf/run.h"
#include "perf/self_test.h"
#include "perf/table.h"
#include "perf/terminal.h"

namespace vmlane::perf {
namespace {

namespace fs = std::filesystem;

constexpr int kFailed = 1;
constexpr int kUsage = 2;
constexpr int kWorse = 3;
constexpr int kInterrupted = 130;

constexpr std::string_view kExamples =
    "Examples:\n"
    "  vmlane-perf run --lanes tap,tap-inpod-bridge --guests native --out before\n"
    "  vmlane-perf compare before/result.json after/result.json\n"
    "  vmlane-perf report before/result.json after/result.json --out both.html";

struct Arguments {
  RunOptions run;
  std::string cpus;
  std::string bin_dir;
  std::string guest_dir;
  std::vector<std::string> cni_dirs;
  std::string networks;
  std::string root = "/run/vmlane-perf";
  std::string out;
  std::vector<std::string> delays;
  std::vector<std::string> files;
  bool cross_check = false;
  NativeGuestOptions guest;
  std::string mac;
  std::string address;
};

struct Context {
  const Invocation& invocation;
  Arguments arguments;
  std::function<int()> command;

  std::ostream& out() const { return *invocation.out; }
  std::ostream& err() const { return *invocation.err; }
  int failed(const Error& error) const {
    err() << "vmlane-perf: " << printable(error.text()) << std::endl;
    return kFailed;
  }
};

fs::path own_directory() {
  std::error_code error;
  return fs::read_symlink("/proc/self/exe", error).parent_path();
}

Result<std::vector<int>> parse_cpus(const std::string& text) {
  if (text == "none") return std::vector<int>();
  std::vector<int> cpus = usable_cpus();
  if (text.empty()) {
    cpus.resize(std::min<std::size_t>(cpus.size(), 2));
    return cpus;
  }
  cpus.clear();
  std::istringstream words(text);
  for (std::string word; std::getline(words, word, ',');) {
    int cpu = -1;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), cpu);
    if (error != std::errc() || end != word.data() + word.size() || cpu < 0)
      return fail(Code::kInvalidConfig, "--cpus is \"" + text + "\"",
                  "it takes two CPU numbers, the client's and the guests', as in 0,1, or none");
    cpus.push_back(cpu);
  }
  return cpus;
}

// "tap=7000"
Result<std::map<std::string, std::uint64_t>> parse_delays(const std::vector<std::string>& texts) {
  std::map<std::string, std::uint64_t> delays;
  for (const std::string& text : texts) {
    const auto equals = text.find('=');
    std::uint64_t value = 0;
    const char* begin = text.data() + (equals == std::string::npos ? text.size() : equals + 1);
    const auto [end, error] = std::from_chars(begin, text.data() + text.size(), value);
    if (equals == 0 || error != std::errc() || end != text.data() + text.size())
      return fail(Code::kInvalidConfig, "--guest-delay is \"" + text + "\"",
                  "it takes a lane and nanoseconds, as in tap=7000");
    delays[text.substr(0, equals)] = value;
  }
  return delays;
}

Result<SiteOptions> site_options(const Context& context) {
  const Arguments& arguments = context.arguments;
  SiteOptions site = arguments.run.site;
  site.root = fs::absolute(arguments.root);
  site.bin_dir = arguments.bin_dir.empty() ? own_directory() : fs::absolute(arguments.bin_dir);
  site.cni_dirs.assign(arguments.cni_dirs.begin(), arguments.cni_dirs.end());
  for (const fs::path directory : {"/usr/lib/cni", "/opt/cni/bin"}) {
    std::error_code error;
    if (fs::is_directory(directory, error)) site.cni_dirs.push_back(directory);
  }
  const std::string cache = context.invocation.variable("VMLANE_CACHE");
  site.guest_dir = arguments.guest_dir.empty()
                       ? fs::path(cache.empty() ? "/var/cache/vmlane" : cache) / "guest/current"
                       : fs::absolute(arguments.guest_dir);
  if (!arguments.networks.empty()) site.networks = arguments.networks;
  VMLANE_ASSIGN(site.cpus, parse_cpus(arguments.cpus));
  return site;
}

// Before a run of minutes: that its result can be written.
Result<> prepare_output(const fs::path& directory) {
  VMLANE_TRY(make_directory(directory, {.mode = 0755}));
  return check_writable(directory);
}

Result<> write_reports(const fs::path& directory, const RunResult& result) {
  VMLANE_TRY(write_result(directory / "result.json", result));
  return write_file_atomically(directory / "report.html", html_report({result}), {.mode = 0644});
}

int run_command(const Context& context) {
  const auto prepared = [&]() -> Result<RunOptions> {
    RunOptions options = context.arguments.run;
    VMLANE_ASSIGN(options.site, site_options(context));
    VMLANE_ASSIGN(options.lane.guest_delay_ns, parse_delays(context.arguments.delays));
    VMLANE_TRY(check_run(options));
    VMLANE_TRY(prepare_output(context.arguments.out));
    return options;
  }();
  if (!prepared) return context.failed(prepared.error());
  const lab::Interrupt interrupt;
  const lab::Progress progress(context.err());
  const auto result = run(*prepared, progress, [] { return lab::Interrupt::requested(); });
  if (!result) return context.failed(result.error());
  const auto written = write_reports(context.arguments.out, *result);
  if (!written) return context.failed(written.error());
  context.out() << render_table(*result) << "\nwritten: " << context.arguments.out
                << "/result.json and report.html" << std::endl;
  if (lab::Interrupt::requested()) return kInterrupted;
  return result->status == "complete" ? 0 : kFailed;
}

int compare_command(const Context& context) {
  const auto before = read_result(context.arguments.files.at(0));
  if (!before) return context.failed(before.error());
  const auto after = read_result(context.arguments.files.at(1));
  if (!after) return context.failed(after.error());
  const Comparison comparison = compare(*before, *after);
  context.out() << render_comparison(comparison);
  return comparison.worse() ? kWorse : 0;
}

int report_command(const Context& context) {
  std::vector<RunResult> results;
  for (const std::string& file : context.arguments.files) {
    auto result = read_result(file);
    if (!result) return context.failed(result.error());
    results.push_back(std::move(*result));
  }
  const auto written = write_file_atomically(context.arguments.out, html_report(results), {.mode = 0644});
  if (!written) return context.failed(written.error());
  for (const RunResult& result : results) context.out() << render_table(result) << "\n";
  context.out() << "written: " << context.arguments.out << std::endl;
  return 0;
}

int self_test_command(const Context& context) {
  auto options = site_options(context);
  if (!options) return context.failed(options.error());
  const lab::Interrupt interrupt;
  const auto found =
      self_test(*options, context.arguments.cross_check, [] { return lab::Interrupt::requested(); });
  if (!found) return context.failed(found.error());
  constexpr double kLimitPercent = 1;
  const bool good = found->instruments_percent < kLimitPercent;
  context.out() << std::fixed << std::setprecision(2) << "container round trip, p50       "
                << found->container_p50_us << " us\ninstruments in a round trip     "
                << found->instruments_ns / 1000 << " us, " << found->instruments_percent
                << " % of it (limit 1 %)"
                << "\nloop-back without instruments   " << found->bare_us
                << " us\nloop-back with instruments      " << found->timed_us << " us, "
                << found->difference_percent << " % more by paired blocks\n";
  for (const CrossCheck& check : found->cross_checks) {
    context.out() << "against " << check.generator << ": ";
    if (check.skipped.empty())
      context.out() << check.quantity << " " << check.own << " " << check.unit << " here, " << check.other
                    << " there\n";
    else
      context.out() << "skipped, " << check.skipped << "\n";
  }
  context.out() << (good ? "ok" : "ABOVE THE LIMIT") << std::endl;
  return good ? 0 : kFailed;
}

int finished(const Result<>& served, const Context& context) {
  return served ? 0 : context.failed(served.error());
}

int native_guest_command(const Context& context) {
  NativeGuestOptions options = context.arguments.guest;
  const auto mac = MacAddress::parse(context.arguments.mac);
  if (!mac) return context.failed(mac.error());
  const auto address = IpPrefix::parse(context.arguments.address);
  if (!address) return context.failed(address.error());
  options.mac = *mac;
  options.address = *address;
  return finished(run_native_guest(options), context);
}

void add_site_options(CLI::App& command, Arguments& arguments) {
  command
      .add_option(
          "--cpus", arguments.cpus,
          "CPU of the client, CPU of guests and responders, and CPU of ovs-dpdk's polling thread if not "
          "the guests'; \"none\" leaves it to the scheduler "
          "(default: the "
          "first two)")
      ->type_name("A,B");
  command.add_option("--bin-dir", arguments.bin_dir,
                     "where the lane plugins are (default: beside this program)");
  command.add_option("--cni-path", arguments.cni_dirs, "where host-local is; may be given more than once");
  command.add_option(
      "--networks", arguments.networks,
      "file with NetworkAttachmentDefinitions \"containers\", \"tap\", \"macvtap\" and \"vhost-user\", "
      "instead of the built-in ones");
  command.add_option("--dir", arguments.root, "directory to work in, removed at the end")
      ->capture_default_str();
}

void add_run(CLI::App& app, Context& context) {
  Arguments& arguments = context.arguments;
  CLI::App* command = app.add_subcommand("run", "measure lanes against the container lane");
  command->add_option("--lanes", arguments.run.lanes, "lanes to measure (default: all)")->delimiter(',');
  command->add_option("--guests", arguments.run.guests, "native, qemu (default: both)")->delimiter(',');
  command->add_option("--duration", arguments.run.duration, "seconds of headline round trips for each lane")
      ->capture_default_str();
  command->add_option("--epochs", arguments.run.epochs, "times each lane is set up and taken down")
      ->capture_default_str();
  command
      ->add_option("--rounds", arguments.run.rounds, "pairs of blocks with the container lane in each epoch")
      ->capture_default_str();
  command->add_option("--rates", arguments.run.rates, "requests a second of the open loops")
      ->delimiter(',')
      ->capture_default_str();
  command
      ->add_option("--sizes", arguments.run.sizes,
                   "bytes of payload of each request; the first is the headline's, and that of floods")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--seed", arguments.run.seed, "of orders and schedules")->capture_default_str();
  command->add_option("--out", arguments.out, "directory for result.json and report.html")->required();
  command->add_option("--qemu", arguments.run.site.qemu, "QEMU to run guests with")->capture_default_str();
  command->add_option("--guest-dir", arguments.guest_dir, "directory with vmlinuz and initramfs.gz");
  command->add_option(
      "--guest-delay", arguments.delays,
      "LANE=NANOSECONDS: the lane's native guest waits that long before each answer, to plant a known "
      "slowdown");
  command->add_flag("--allow-busy", arguments.run.allow_busy, "measure although the CPUs are busy");
  add_site_options(*command, arguments);
  command->callback([&context] { context.command = [&context] { return run_command(context); }; });
}

void add_reports(CLI::App& app, Context& context) {
  Arguments& arguments = context.arguments;
  CLI::App* compare = app.add_subcommand("compare",
                                         "what changed between two results beyond noise; status 3 when "
                                         "something got worse");
  compare->add_option("files", arguments.files, "result.json of before and after")->required()->expected(2);
  compare->callback([&context] { context.command = [&context] { return compare_command(context); }; });
  CLI::App* report = app.add_subcommand("report", "render results again");
  report->add_option("files", arguments.files, "result.json files")->required();
  report->add_option("--out", arguments.out, "file to write")->default_val("report.html");
  report->callback([&context] { context.command = [&context] { return report_command(context); }; });
}

void add_self_test(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand("self-test", "what the harness itself adds to a round trip");
  command->add_flag("--cross-check", context.arguments.cross_check,
                    "also set the container's figures beside those of iperf3 and sockperf, where they are "
                    "installed");
  add_site_options(*command, context.arguments);
  command->callback([&context] { context.command = [&context] { return self_test_command(context); }; });
}

// What a run starts in pods and guests; of no use by hand, so not listed.
void add_far_ends(CLI::App& app, Context& context) {
  Arguments& arguments = context.arguments;
  CLI::App* responder = app.add_subcommand("respond", "answer measurements")->group("");
  responder->callback([&context] { context.command = [&context] { return finished(respond(), context); }; });
  CLI::App* guest =
      app.add_subcommand("native-guest", "answer measurements on a tap or on vhost-user rings")->group("");
  auto* end = guest->add_option_group("end");
  end->add_option("--tap", arguments.guest.tap);
  end->add_option("--socket", arguments.guest.socket);
  end->require_option(1);
  guest->add_option("--mac", arguments.mac)->required();
  guest->add_option("--address", arguments.address)->required();
  guest->add_option("--delay", arguments.guest.delay_ns);
  guest->callback([&context] { context.command = [&context] { return native_guest_command(context); }; });
}

}  // namespace

int run_vmlane_perf(std::vector<std::string> arguments, const Invocation& invocation) {
  Context context{.invocation = invocation};
  CLI::App app("Measures every lane of vmlane against the container.", "vmlane-perf");
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::simple);
  app.footer(std::string(kExamples));
  add_run(app, context);
  add_reports(app, context);
  add_self_test(app, context);
  add_far_ends(app, context);
  std::ranges::reverse(arguments);  // as the library wants them
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, context.out(), context.err()) == 0 ? 0 : kUsage;
  }
  return context.command();
}

}  // namespace vmlane::perf
