// SPDX-License-Identifier: Apache-2.0
#include "cni/tap/labelled_tap.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ostream>
#include <vector>

#include "core/files.h"
#include "core/json.h"

namespace vmlane::cni {
namespace {

constexpr const char* kHelperVariable = "VMLANE_TAP_HELPER";
// What container runtimes give to containers.
constexpr const char* kContainerContext = "system_u:system_r:container_t:s0";
constexpr std::size_t kMaxAnswer = std::size_t{64} << 10;
constexpr std::size_t kMaxContext = 4096;

// Exit statuses of the child before it is the helper: the step that failed. Those of the helper are 0 and 1.
enum ChildStep : int { kEnter = 10, kLabel = 11, kStart = 12 };

struct Child {
  int netns = -1;
  int answer = -1;
  const char* attribute = nullptr;
  std::string_view context;
  const char* program = nullptr;
  std::array<char*, 2> argv{};
  std::array<char*, 2> env{};
};

// Between fork and exec: system calls only. What failed is the exit status, why is errno in the pipe.
[[noreturn]] void become_helper(const Child& child) {
  const auto end = [&](ChildStep step) {
    const int error = errno;
    [[maybe_unused]] const ssize_t told = ::write(child.answer, &error, sizeof(error));
    ::_exit(step);
  };
  if (::setns(child.netns, CLONE_NEWNET) != 0) end(kEnter);
  const int attribute = ::open(child.attribute, O_WRONLY | O_CLOEXEC);
  if (attribute < 0) end(kLabel);
  if (::write(attribute, child.context.data(), child.context.size()) < 0) end(kLabel);
  if (::dup2(child.answer, STDOUT_FILENO) < 0) end(kStart);
  ::execve(child.program, child.argv.data(), child.env.data());
  end(kStart);
  ::_exit(kStart);
}

std::string spec_text(const netlink::TapSpec& spec) {
  return to_text(
      {{"name", spec.name}, {"owner", spec.owner}, {"group", spec.group}, {"multi_queue", spec.multi_queue}});
}

Error child_failure(int step, const std::string& answer, const std::string& context,
                    const std::string& program) {
  int error = 0;
  if (answer.size() == sizeof(error)) std::ranges::copy(answer, reinterpret_cast<char*>(&error));
  if (step == kEnter) return kernel_error("cannot enter the pod's network namespace", error);
  if (step == kStart) return io_error("cannot start " + program + " to make the tap", error);
  Error refused = kernel_error("SELinux does not take context \"" + context + "\" for the tap", error);
  refused.details =
      "key \"selinuxContext\" must name a context that the node's policy has, and may start from ours";
  return refused;
}

Error helper_failure(const std::string& answer, const std::string& name) {
  const auto json = parse_json(answer, "the tap helper's answer");
  if (!json || !json->is_object())
    return {Code::kKernel, "the process that makes tap " + name + " under its label ended without a word",
            "SELinux may have stopped it: see the audit log", nullptr};
  return {static_cast<Code>(json->value("code", 100U)), json->value("msg", ""), json->value("details", ""),
          nullptr};
}

Result<int> wait_for(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return fail(io_error("cannot wait for the process that makes the tap", errno));
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

bool is_word(std::string_view text, std::string_view more) {
  return !text.empty() && std::ranges::all_of(text, [&](char c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    return letter || c == '_' || c == '.' || c == '-' || more.find(c) != std::string_view::npos;
  });
}

Result<> make_tap_here(const std::string& text) {
  VMLANE_ASSIGN(const Json json, parse_json(text, kHelperVariable));
  if (!json.is_object()) return fail(Code::kBadEnvironment, std::string(kHelperVariable) + " is no object");
  VMLANE_ASSIGN(const auto here, netlink::Namespace::current());
  return netlink::create_tap(here, {.name = json.value("name", ""),
                                    .owner = json.value("owner", 0U),
                                    .group = json.value("group", 0U),
                                    .multi_queue = json.value("multi_queue", false)});
}

}  // namespace

Result<SelinuxMode> selinux_mode(const Selinux& selinux) {
  VMLANE_ASSIGN(const auto enforce, read_file(selinux.root / "enforce"));
  if (!enforce) return SelinuxMode::kAbsent;
  return enforce->starts_with('1') ? SelinuxMode::kEnforcing : SelinuxMode::kPermissive;
}

Result<> check_selinux_context(std::string_view context) {
  std::vector<std::string_view> parts;
  std::string_view rest = context;
  constexpr std::size_t kBeforeLevel = 3;
  while (parts.size() < kBeforeLevel && !rest.empty()) {
    const auto colon = rest.find(':');
    parts.push_back(rest.substr(0, colon));
    if (colon == std::string_view::npos) {
      rest = {};
    } else {
      rest.remove_prefix(colon + 1);
      // A colon at the end promises a part that is not there.
      if (rest.empty()) parts.emplace_back();
    }
  }
  const bool names = parts.size() == kBeforeLevel &&
                     std::ranges::all_of(parts, [](std::string_view part) { return is_word(part, ""); });
  // The level has colons and commas of its own: s0:c1,c2.
  if (names && (rest.empty() || is_word(rest, ":,")) && context.size() <= kMaxContext) return {};
  return fail(Code::kInvalidConfig, "key \"selinuxContext\" is " + to_text(Json(std::string(context))) +
                                        ", expected user:role:type or user:role:type:level");
}

std::optional<std::string> selinux_context(SelinuxMode mode, const std::string& key_value) {
  if (mode == SelinuxMode::kAbsent) return std::nullopt;
  if (!key_value.empty()) return key_value;
  if (mode == SelinuxMode::kEnforcing) return kContainerContext;
  return std::nullopt;
}

Result<> create_labelled_tap(const Selinux& selinux, const netlink::Namespace& where,
                             const netlink::TapSpec& spec, const std::string& context) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail(io_error("cannot make a pipe", errno));
  const Fd answer(ends[0]);
  Fd to_us(ends[1]);
  std::string name = "vmlane-tap";
  std::string variable = std::string(kHelperVariable) + "=" + spec_text(spec);
  const Child child{.netns = where.fd(),
                    .answer = to_us.get(),
                    .attribute = selinux.exec_attribute.c_str(),
                    .context = context,
                    .program = selinux.program.c_str(),
                    .argv = {name.data(), nullptr},
                    .env = {variable.data(), nullptr}};
  const pid_t pid = ::fork();
  if (pid < 0) return fail(io_error("cannot start a process to make the tap", errno));
  if (pid == 0) become_helper(child);
  to_us = Fd();
  const auto said = read_all(answer.get(), "the tap helper's answer", kMaxAnswer);
  VMLANE_ASSIGN(const int status, wait_for(pid));
  if (status == 0) return {};
  if (status >= kEnter && status <= kStart)
    return fail(child_failure(status, said.value_or(""), context, selinux.program.string()));
  return fail(helper_failure(said.value_or(""), spec.name));
}

std::optional<int> run_tap_helper(const Invocation& invocation) {
  const std::string text = invocation.variable(kHelperVariable);
  if (text.empty()) return std::nullopt;
  const auto made = make_tap_here(text);
  if (made) return 0;
  const Error& error = made.error();
  *invocation.out << to_text({{"code", static_cast<unsigned>(error.code)},
                              {"msg", error.message},
                              {"details", error.details}})
                  << std::flush;
  return 1;
}

}  // namespace vmlane::cni
