// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <memory>
#include <ostream>

#include "cli/app.h"
#include "cli/lab_options.h"
#include "lab/console.h"
#include "lab/exec.h"
#include "lab/interrupt.h"
#include "lab/lab.h"

namespace vmlane::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kLabExamples =
    "Examples:\n"
    "  vmlanectl lab up examples/demo.yaml\n"
    "  vmlanectl lab exec vm-a -- ping -c 3 192.0.2.12\n"
    "  vmlanectl lab exec default/web -- sh -c 'ip -s link > /tmp/links'\n"
    "  vmlanectl lab console vm-a\n"
    "  vmlanectl lab down";

struct LabArguments {
  LabDirectory directory;
  std::vector<std::string> files;
  std::string bin_dir;
  std::vector<std::string> cni_dirs;
  std::string guest_dir;
  unsigned ready_seconds = 180;
  bool cloud_init = false;
  bool ignore_cloud_init = false;
  lab::LabOptions options;  // the rest of `up`
  bool host = false;
  unsigned limit = 0;
  std::string name;  // of exec and console
};

fs::path default_bin_dir() {
  std::error_code error;
  return fs::read_symlink("/proc/self/exe", error).parent_path();
}

fs::path default_guest_dir(const Context& context) {
  const std::string cache = context.invocation.variable("VMLANE_CACHE");
  return fs::path(cache.empty() ? "/var/cache/vmlane" : cache) / "guest/current";
}

// --cni-path first, then where distributions put the reference plugins.
std::vector<fs::path> cni_dirs(const LabArguments& arguments) {
  std::vector<fs::path> directories(arguments.cni_dirs.begin(), arguments.cni_dirs.end());
  for (const fs::path directory : {"/usr/lib/cni", "/opt/cni/bin"}) {
    std::error_code error;
    if (fs::is_directory(directory, error)) directories.push_back(directory);
  }
  return directories;
}

int print_rows(const lab::LabPaths& paths, const Context& context) {
  const auto rows = lab::lab_rows(paths);
  if (!rows) return context.failed(rows.error());
  context.out() << render_rows(context.format,
                               {{"NAME", "/name"},
                                {"KIND", "/kind"},
                                {"LANE", "/lane"},
                                {"NETWORK", "/network"},
                                {"IFNAME", "/ifname"},
                                {"MAC", "/mac"},
                                {"IP", "/ips"},
                                {"MTU", "/mtu"},
                                {"STATE", "/state"}},
                               *rows);
  return 0;
}

int up(const LabArguments& arguments, const Context& context) {
  lab::LabOptions options = arguments.options;
  options.paths = arguments.directory.paths();
  options.files.assign(arguments.files.begin(), arguments.files.end());
  options.bin_dir = arguments.bin_dir.empty() ? default_bin_dir() : fs::absolute(arguments.bin_dir);
  options.cni_dirs = cni_dirs(arguments);
  options.guest_dir =
      arguments.guest_dir.empty() ? default_guest_dir(context) : fs::path(arguments.guest_dir);
  options.ready_limit = std::chrono::seconds(arguments.ready_seconds);
  if (arguments.cloud_init) options.plan.cloud_init = lab::CloudInit::kDrive;
  if (arguments.ignore_cloud_init) options.plan.cloud_init = lab::CloudInit::kIgnored;
  options.search_path = context.invocation.variable("PATH");
  const lab::Progress progress(context.err());
  const lab::Interrupt interrupt;
  const auto started = lab::lab_up(options, progress, [] { return lab::Interrupt::requested(); });
  return started ? print_rows(options.paths, context) : context.failed(started.error());
}

int down(const LabArguments& arguments, const Context& context) {
  return context.finish(lab::lab_down(arguments.directory.paths(), lab::Progress(context.err())));
}

int exec(const LabArguments& arguments, const Context& context) {
  if (context.command.empty() || arguments.name.empty() != arguments.host) {
    context.err() << "vmlanectl lab exec: say NAME -- COMMAND..., or --host -- COMMAND..." << std::endl;
    return kUsage;
  }
  const lab::Interrupt interrupt;
  lab::ExecRequest request{.command = context.command, .limit = arguments.limit, .interrupted = [] {
                             return lab::Interrupt::requested();
                           }};
  request.output = [&context](std::string_view bytes) { context.out() << bytes << std::flush; };
  request.error = [&context](std::string_view bytes) { context.err() << bytes << std::flush; };
  const auto paths = arguments.directory.paths();
  const auto status = arguments.host ? lab::exec_on_node(paths, request)
                                     : lab::exec_in_workload(paths, arguments.name, request);
  if (status) return *status;
  context.failed(status.error());
  return lab::kExecFailed;
}

int console(const LabArguments& arguments, const Context& context) {
  return context.finish(lab::attach_console(arguments.directory.paths(), arguments.name));
}

void add_up(CLI::App& group, const std::shared_ptr<LabArguments>& arguments, Context& context) {
  CLI::App* command = group.add_subcommand(
      "up", "Start the pods and VMs of object files and wait until every guest is ready");
  command
      ->add_option("FILE", arguments->files,
                   "NetworkAttachmentDefinitions, Pods, VirtualMachine(Instance)s in YAML or JSON")
      ->required();
  arguments->directory.add_option(*command);
  command
      ->add_option("--bin-dir", arguments->bin_dir,
                   "where vmlane-multus and the lane plugins are (default: beside vmlanectl)")
      ->type_name("DIR");
  command
      ->add_option("--cni-path", arguments->cni_dirs,
                   "further directories with CNI plugins, before /usr/lib/cni and /opt/cni/bin")
      ->type_name("DIR");
  command
      ->add_option("--guest", arguments->guest_dir,
                   "guest image, as made by scripts/guest-image (default: its newest)")
      ->type_name("DIR");
  command->add_option("--qemu", arguments->options.qemu, "QEMU program")
      ->type_name("PROGRAM")
      ->capture_default_str();
  command->add_option("--timeout", arguments->ready_seconds, "time for each guest to become ready")
      ->type_name("SECONDS")
      ->capture_default_str();
  command
      ->add_option("--default-network", arguments->options.plan.default_network,
                   "NetworkAttachmentDefinition that stands in for the pod network")
      ->type_name("[NS/]NAME");
  auto* ignore = command->add_flag("--ignore-cloud-init", arguments->ignore_cloud_init,
                                   "start VMs whose cloud-init data the guest does not run");
  command
      ->add_flag(
          "--cloud-init", arguments->cloud_init,
          "tell each VM its network, and its object's cloud-init data, by a NoCloud drive and by nothing "
          "else; its guest must run cloud-init (scripts/guest-image --cloud-init)")
      ->excludes(ignore);
  command->add_flag("--keep", arguments->options.keep, "leave what was made when starting fails");
  add_output_option(*command, context);
  command->callback(
      [arguments, &context] { context.run = [=, &context] { return up(*arguments, context); }; });
}

void add_exec(CLI::App& group, const std::shared_ptr<LabArguments>& arguments, Context& context) {
  CLI::App* command = group.add_subcommand("exec",
                                           "Run a command in a pod or VM; exit status and output are the "
                                           "command's (124: time limit, 125: it could not be run)");
  command->add_option("NAME", arguments->name,
                      "pod or VM, by name or namespace/name; after it -- and the command");
  arguments->directory.add_option(*command);
  command->add_flag("--host", arguments->host, "in the lab's node network namespace; no NAME then");
  command->add_option("--timeout", arguments->limit, "end the command after this time")->type_name("SECONDS");
  command->callback(
      [arguments, &context] { context.run = [=, &context] { return exec(*arguments, context); }; });
}

}  // namespace

CLI::Option* LabDirectory::add_option(CLI::App& command) {
  return command.add_option("--dir", text, "the lab's directory")->type_name("DIR")->capture_default_str();
}

lab::LabPaths LabDirectory::paths() const {
  fs::path path = fs::absolute(text).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // "lab/" is "lab"
  return {path};
}

void add_lab_commands(CLI::App& app, Context& context) {
  const auto arguments = std::make_shared<LabArguments>();
  CLI::App* group = app.add_subcommand("lab", "Pods and VMs on this machine, without a cluster");
  group->require_subcommand(1);
  group->footer(std::string(kLabExamples));
  add_up(*group, arguments, context);

  CLI::App* list = group->add_subcommand("ls", "List the lab's pods and VMs with their attachments");
  arguments->directory.add_option(*list);
  add_output_option(*list, context);
  list->callback([arguments, &context] {
    context.run = [=, &context] { return print_rows(arguments->directory.paths(), context); };
  });

  add_exec(*group, arguments, context);

  CLI::App* terminal = group->add_subcommand("console", "Connect to a VM's serial console; Ctrl-] ends");
  terminal->add_option("NAME", arguments->name, "VM, by name or namespace/name")->required();
  arguments->directory.add_option(*terminal);
  terminal->callback(
      [arguments, &context] { context.run = [=, &context] { return console(*arguments, context); }; });

  CLI::App* stop = group->add_subcommand("down", "Stop and remove everything");
  arguments->directory.add_option(*stop);
  stop->callback(
      [arguments, &context] { context.run = [=, &context] { return down(*arguments, context); }; });
}

}  // namespace vmlane::cli
