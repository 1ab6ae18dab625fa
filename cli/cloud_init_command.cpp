// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <ostream>

#include "cli/app.h"
#include "cli/nic_choice.h"
#include "cli/node_source.h"
#include "cloud-init/seed.h"
#include "cloud-init/seed_image.h"
#include "core/files.h"

namespace vmlane::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kCloudInitExamples =
    "Examples:\n"
    "  vmlanectl cloud-init --pod default/virt-launcher-vm-a-x7k2p\n"
    "  vmlanectl cloud-init --vm default/vm-a --lab --print network-config\n"
    "  vmlanectl cloud-init --vm vm-a --ssh-key ~/.ssh/id_ed25519.pub --output seed --iso seed.iso\n"
    "  vmlanectl cloud-init --record a.json b.json --hostname web --user-data user.yaml --output seed";

struct CloudInitArguments {
  NodeSource node;
  NicChoice choice;
  std::vector<std::string> record_files;
  bool keep_names = false;
  std::vector<std::string> key_files;
  std::string user_data_file;
  cloud_init::SeedOptions options;  // gateway6, hostname, instance_id
  std::string print;                // one file's name; empty: all
  std::string directory;
  std::string image;
  bool force = false;
};

// A file of the user's, symlinks and all.
Result<std::string> read_given_file(const std::string& option, const std::string& file) {
  std::error_code error;
  const fs::path path = fs::canonical(file, error);
  if (error) return fail(io_error(option + ": cannot read " + file, error.value()));
  VMLANE_ASSIGN(auto text, read_file(path));
  return std::move(text).value_or("");
}

Result<cloud_init::SeedOptions> read_options(const CloudInitArguments& arguments) {
  cloud_init::SeedOptions options = arguments.options;
  options.set_names = !arguments.keep_names;
  for (const std::string& file : arguments.key_files) {
    VMLANE_ASSIGN(const std::string text, read_given_file("--ssh-key", file));
    VMLANE_ASSIGN(const auto keys, cloud_init::parse_ssh_keys(text, "--ssh-key " + file));
    options.ssh_keys.insert(options.ssh_keys.end(), keys.begin(), keys.end());
  }
  if (!arguments.user_data_file.empty()) {
    VMLANE_ASSIGN(options.user_data, read_given_file("--user-data", arguments.user_data_file));
    VMLANE_TRY(cloud_init::check_user_data(*options.user_data, "--user-data " + arguments.user_data_file));
  }
  return options;
}

void warn(const Context& context, const std::string& text) {
  context.err() << "vmlanectl: warning: " << text << std::endl;
}

Result<std::vector<AttachmentRecord>> read_nics(const CloudInitArguments& arguments, const Context& context) {
  if (!arguments.record_files.empty()) return read_record_files(arguments.record_files);
  VMLANE_ASSIGN(const NodeConfig config, arguments.node.read(context));
  VMLANE_ASSIGN(const auto listing, RecordStore(config).list());
  for (const Error& problem : listing.problems) warn(context, problem.text() + "; it is left out");
  std::vector<std::string> warnings;
  auto nics = choose_nics(listing.records, arguments.choice, warnings);
  for (const std::string& text : warnings) warn(context, text);
  return nics;
}

// Empty stays empty; a trailing slash goes.
fs::path absolute_path(const std::string& given) {
  if (given.empty()) return {};
  const fs::path path = fs::absolute(given).lexically_normal();
  return path.has_filename() ? path : path.parent_path();
}

Result<> refuse_to_replace(const std::vector<fs::path>& targets) {
  for (const fs::path& target : targets) {
    std::error_code error;
    if (fs::exists(fs::symlink_status(target, error)))
      return fail(Code::kConflict, target.string() + " is there already", "replace it with --force");
  }
  return {};
}

void print_files(const std::string& only, const cloud_init::Seed& data, const Context& context) {
  for (const auto& [name, content] : data.files()) {
    if (only.empty())
      context.out() << "--- # " << name << "\n" << *content;
    else if (only == name)
      context.out() << *content;
    if (only.empty() && !content->ends_with('\n')) context.out() << "\n";
  }
}

Result<> write_files(const CloudInitArguments& arguments, const cloud_init::Seed& data,
                     const Context& context) {
  const fs::path directory = absolute_path(arguments.directory);
  const fs::path image = absolute_path(arguments.image);
  std::vector<fs::path> targets;
  if (!directory.empty()) {
    for (const auto& file : data.files()) targets.push_back(directory / file.first);
  }
  if (!image.empty()) targets.push_back(image);
  if (!arguments.force) VMLANE_TRY(refuse_to_replace(targets));
  if (!directory.empty()) VMLANE_TRY(cloud_init::write_seed_directory(directory, data));
  if (!image.empty())
    VMLANE_TRY(cloud_init::write_seed_image(image, data, context.invocation.variable("PATH")));
  for (const fs::path& target : targets) context.out() << target.string() << "\n";
  return {};
}

Result<> make_cloud_init(const CloudInitArguments& arguments, const Context& context) {
  VMLANE_ASSIGN(const cloud_init::SeedOptions options, read_options(arguments));
  VMLANE_ASSIGN(const auto nics, read_nics(arguments, context));
  VMLANE_ASSIGN(const cloud_init::Seed data, cloud_init::make_seed(nics, options));
  if (!arguments.directory.empty() || !arguments.image.empty()) return write_files(arguments, data, context);
  print_files(arguments.print, data, context);
  return {};
}

int run_cloud_init(const CloudInitArguments& arguments, const Context& context) {
  const bool by_record = !arguments.record_files.empty();
  if (by_record && (arguments.node.given() || !arguments.choice.ifnames.empty())) {
    context.err() << "vmlanectl cloud-init: --record goes without --config, --lab and --ifname" << std::endl;
    return kUsage;
  }
  if (arguments.force && arguments.directory.empty() && arguments.image.empty()) {
    context.err() << "vmlanectl cloud-init: --force goes with --output or --iso" << std::endl;
    return kUsage;
  }
  return context.finish(make_cloud_init(arguments, context));
}

// For options where a shell variable that is not set would mean something else.
CLI::Validator not_empty() {
  return {[](const std::string& text) { return text.empty() ? "is empty" : ""; }, ""};
}

void add_source_options(CLI::App& command, CloudInitArguments& arguments) {
  CLI::App* source = command.add_option_group("VM", "whose NICs it is about");
  source->add_option("--pod", arguments.choice.pod, "the VM in this pod")
      ->type_name("[NS/]NAME")
      ->check(not_empty());
  source->add_option("--vm", arguments.choice.vm, "the VM of this name")
      ->type_name("[NS/]NAME")
      ->check(not_empty());
  source->add_option("--container-id", arguments.choice.container_id, "the VM in this sandbox")
      ->type_name("ID")
      ->check(not_empty());
  source
      ->add_option("--record", arguments.record_files,
                   "the VM whose attachment records are in these files, of this node or not")
      ->type_name("FILE");
  source->require_option(1);
  command
      .add_option("--ifname", arguments.choice.ifnames,
                  "only the NIC of this interface in the pod (repeatable)")
      ->type_name("NAME")
      ->allow_extra_args(false);
  arguments.node.add_options(command);
}

void add_content_options(CLI::App& command, CloudInitArguments& arguments) {
  command.add_flag("--keep-names", arguments.keep_names,
                   "leave the guest's names to its NICs, instead of the interfaces' names in the pod");
  command.add_flag("--gateway6", arguments.options.gateway6,
                   "tell an IPv6 default route as gateway6, for guests without netplan and with cloud-init "
                   "before 23.1, which misreads ::/0");
  command.add_option("--hostname", arguments.options.hostname, "(default: the VM's name, else the pod's)")
      ->type_name("NAME");
  command
      .add_option("--instance-id", arguments.options.instance_id,
                  "cloud-init sets a guest up anew when it changes (default: made of the VM's name)")
      ->type_name("ID");
  auto* keys = command
                   .add_option("--ssh-key", arguments.key_files,
                               "public keys that may log in as the image's user (repeatable)")
                   ->type_name("FILE")
                   ->allow_extra_args(false);
  command.add_option("--user-data", arguments.user_data_file, "user-data, taken as it is")
      ->type_name("FILE")
      ->check(not_empty())
      ->excludes(keys);
}

void add_target_options(CLI::App& command, CloudInitArguments& arguments) {
  auto* print = command
                    .add_option("--print", arguments.print,
                                "print network-config, meta-data or user-data alone (default: all three)")
                    ->type_name("WHAT")
                    ->check(CLI::IsMember({"network-config", "meta-data", "user-data"}).description(""));
  command.add_option("--output", arguments.directory, "write the files to this directory")
      ->type_name("DIR")
      ->check(not_empty())
      ->excludes(print);
  command.add_option("--iso", arguments.image, "write an image with the files, a drive for the VM")
      ->type_name("FILE")
      ->check(not_empty())
      ->excludes(print);
  command.add_flag("--force", arguments.force, "replace files that are there");
}

}  // namespace

void add_cloud_init_command(CLI::App& app, Context& context) {
  const auto arguments = std::make_shared<CloudInitArguments>();
  CLI::App* command = app.add_subcommand(
      "cloud-init",
      "Tell a VM's cloud-init its network: the files of a NoCloud seed from the VM's attachments");
  command->footer(std::string(kCloudInitExamples));
  add_source_options(*command, *arguments);
  add_content_options(*command, *arguments);
  add_target_options(*command, *arguments);
  command->callback(
      [arguments, &context] { context.run = [=, &context] { return run_cloud_init(*arguments, context); }; });
}

}  // namespace vmlane::cli
