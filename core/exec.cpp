// SPDX-License-Identifier: Apache-2.0
#include "core/exec.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/files.h"
#include "core/names.h"

// glibc 2.36 declares it without C linkage.
extern "C" {
#include <sys/pidfd.h>
}

namespace vmlane {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// Enough of a plugin's text to tell the cause, without filling a runtime's event with it.
constexpr std::size_t kMaxQuoted = 1000;

std::string excerpt(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  text = text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
  return text.size() <= kMaxQuoted ? std::string(text) : std::string(text.substr(0, kMaxQuoted)) + "...";
}

// What run_plugin collects from one of the child's streams.
struct Stream {
  Fd reader;
  std::string text;
  bool pass_on = false;  // to our own stderr, as it comes
};

// A child process that is killed with its process group, and reaped, unless it ended by itself.
class Child {
 public:
  Child(pid_t pid, Fd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (reaped_) return;
    ::kill(-pid_, SIGKILL);
    reap();
  }

  int pidfd() const { return pidfd_.get(); }
  // Status of waitpid(2), once the process has ended.
  int reap() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    reaped_ = true;
    return status;
  }

 private:
  pid_t pid_;
  Fd pidfd_;
  bool reaped_ = false;
};

// The input as a file without a name: the plugin may read it at its own pace, or not at all, and nobody
// blocks or gets SIGPIPE.
Result<Fd> input_file(std::string_view input) {
  Fd file(::memfd_create("cni-config", MFD_CLOEXEC));
  if (!file) return fail(io_error("cannot make a file for a plugin's configuration", errno));
  std::string_view rest = input;
  while (!rest.empty()) {
    const ssize_t wrote = ::write(file.get(), rest.data(), rest.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return fail(io_error("cannot write a plugin's configuration", errno));
    rest.remove_prefix(static_cast<std::size_t>(wrote));
  }
  ::lseek(file.get(), 0, SEEK_SET);
  return file;
}

struct Pipe {
  Fd reader;
  Fd writer;
};

Result<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail(io_error("cannot make a pipe", errno));
  return Pipe{Fd(ends[0]), Fd(ends[1])};
}

struct Descriptors {
  int input;
  int output;
  int error;
  InheritedFd inherited;
};

// Spawns the program in a process group of its own, so that the time limit ends its children too, with
// default signal handling.
int spawn(const fs::path& program, const Environment& env, const Descriptors& descriptors, pid_t& pid) {
  std::vector<std::string> entries;
  entries.reserve(env.size());
  for (const auto& [key, value] : env) entries.push_back(key + "=" + value);
  std::vector<char*> envp;
  envp.reserve(entries.size() + 1);
  for (std::string& entry : entries) envp.push_back(entry.data());
  envp.push_back(nullptr);
  std::string name = program.string();
  std::array<char*, 2> argv{name.data(), nullptr};

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, descriptors.input, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, descriptors.output, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, descriptors.error, STDERR_FILENO);
  // Onto itself: that keeps it open over the exec.
  if (descriptors.inherited >= 0)
    posix_spawn_file_actions_adddup2(&actions, descriptors.inherited, descriptors.inherited);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  const int result = ::posix_spawn(&pid, name.c_str(), &actions, &attributes, argv.data(), envp.data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return result;
}

// As spawn. A binary that an installer is still writing is busy for a moment.
Result<pid_t> spawn_patiently(const fs::path& program, const Environment& env,
                              const Descriptors& descriptors) {
  constexpr int kAttempts = 6;
  constexpr auto kPause = std::chrono::milliseconds(500);
  pid_t pid = 0;
  int result = 0;
  for (int attempt = 0; attempt < kAttempts; attempt++) {
    if (attempt > 0) std::this_thread::sleep_for(kPause);
    result = spawn(program, env, descriptors, pid);
    if (result == 0) return pid;
    if (result != ETXTBSY) break;
  }
  return fail(io_error("cannot run plugin " + program.string(), result));
}

// Takes what a stream has; closes its end at end of file. False when it grew past `max`.
bool drain(Stream& stream, std::size_t max) {
  std::array<char, 65536> buffer{};
  while (stream.reader) {
    const ssize_t got = ::read(stream.reader.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return true;
    if (got <= 0) {
      stream.reader = Fd();
      return true;
    }
    const std::string_view text(buffer.data(), static_cast<std::size_t>(got));
    if (stream.pass_on && ::write(STDERR_FILENO, text.data(), text.size()) < 0) stream.pass_on = false;
    if (stream.text.size() + text.size() > max) return false;
    stream.text += text;
  }
  return true;
}

// Collects the streams until the child has ended; what a grandchild keeps open afterwards is not waited for.
Result<> collect(const Child& child, const fs::path& program, Stream& output, Stream& error,
                 const ExecLimits& limits) {
  const auto deadline = Clock::now() + limits.timeout;
  for (bool ended = false; !ended;) {
    // poll(2) skips a negative descriptor: a stream at its end.
    std::array<pollfd, 3> watched{
        {{child.pidfd(), POLLIN, 0}, {output.reader.get(), POLLIN, 0}, {error.reader.get(), POLLIN, 0}}};
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count() + 1;
    if (left <= 0) {
      return fail(Code::kTryAgain, "plugin " + program.string() + " did not end within " +
                                       std::to_string(limits.timeout.count()) + " ms and was killed");
    }
    const auto wait = std::min<decltype(left)>(left, std::numeric_limits<int>::max());
    if (::poll(watched.data(), watched.size(), static_cast<int>(wait)) < 0 && errno != EINTR) {
      return fail(io_error("cannot wait for plugin " + program.string(), errno));
    }
    ended = (watched[0].revents & POLLIN) != 0;
    if (!drain(output, limits.max_output) || !drain(error, limits.max_output)) {
      return fail(Code::kDelegate, "plugin " + program.string() + " wrote more than " +
                                       std::to_string(limits.max_output) + " bytes and was killed");
    }
  }
  return {};
}

std::string status_text(int status) {
  if (WIFSIGNALED(status)) return "was ended by signal " + std::to_string(WTERMSIG(status));
  return "ended with status " + std::to_string(WEXITSTATUS(status));
}

// The error object of the CNI specification, if the text is one.
std::optional<Error> error_object(std::string_view text) {
  const auto json = parse_json(text, "plugin output");
  if (!json || !json->is_object()) return std::nullopt;
  const auto code = json->find("code");
  const auto message = json->find("msg");
  if (code == json->end() || !code->is_number_unsigned() || message == json->end() || !message->is_string())
    return std::nullopt;
  const auto details = json->find("details");
  const bool has_details = details != json->end() && details->is_string();
  return Error{static_cast<Code>(code->get<unsigned>()), message->get<std::string>(),
               has_details ? details->get<std::string>() : std::string(), nullptr};
}

Error plugin_failure(const fs::path& program, int status, const Stream& output, const Stream& error) {
  if (auto object = error_object(output.text)) return *object;
  const std::string failed = "plugin " + program.string() + " " + status_text(status);
  const std::string printed = excerpt(output.text);
  if (!printed.empty())
    return Error{Code::kDelegate, failed + " and its output is no CNI error object", printed, nullptr};
  const std::string log = excerpt(error.text);
  return Error{Code::kDelegate, failed + " without an error object",
               log.empty() ? "it wrote nothing to stderr either" : log, nullptr};
}

bool is_program(const fs::path& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && ::access(path.c_str(), X_OK) == 0;
}

}  // namespace

Result<fs::path> find_plugin(std::string_view cni_path, std::string_view type) {
  VMLANE_TRY(names::check_plugin_type(type, "plugin type", Code::kInvalidConfig));
  std::string searched;
  while (!cni_path.empty()) {
    const auto colon = cni_path.find(':');
    const std::string_view directory = cni_path.substr(0, colon);
    cni_path.remove_prefix(colon == std::string_view::npos ? cni_path.size() : colon + 1);
    if (directory.empty()) continue;
    const fs::path program = fs::path(directory) / type;
    if (is_program(program)) return program;
    searched += (searched.empty() ? "" : ", ") + std::string(directory);
  }
  return fail(Code::kInvalidConfig, "plugin \"" + std::string(type) + "\" was not found",
              searched.empty() ? "CNI_PATH names no directory"
                               : "searched for an executable file of that name in " + searched);
}

struct RunningPlugin::State {
  State(fs::path path, Fd output_reader, Fd error_reader, pid_t pid)
      : program(std::move(path)),
        output{std::move(output_reader), {}, false},
        error{std::move(error_reader), {}, true},
        child(pid, Fd(::pidfd_open(pid, 0))) {}

  fs::path program;
  Stream output;
  Stream error;
  Child child;
};

RunningPlugin::RunningPlugin(std::unique_ptr<State> state) : state_(std::move(state)) {}
RunningPlugin::RunningPlugin(RunningPlugin&&) noexcept = default;
RunningPlugin& RunningPlugin::operator=(RunningPlugin&&) noexcept = default;
RunningPlugin::~RunningPlugin() = default;

Result<RunningPlugin> RunningPlugin::start(const fs::path& program, const Environment& env,
                                           std::string_view input, InheritedFd inherited) {
  VMLANE_ASSIGN(const Fd config, input_file(input));
  VMLANE_ASSIGN(Pipe output, make_pipe());
  VMLANE_ASSIGN(Pipe error, make_pipe());
  for (const Pipe* pipe : {&output, &error}) ::fcntl(pipe->reader.get(), F_SETFL, O_NONBLOCK);
  VMLANE_ASSIGN(
      const pid_t pid,
      spawn_patiently(program, env, {config.get(), output.writer.get(), error.writer.get(), inherited}));
  auto state = std::make_unique<State>(program, std::move(output.reader), std::move(error.reader), pid);
  if (state->child.pidfd() < 0) return fail(io_error("cannot watch plugin " + program.string(), errno));
  return RunningPlugin(std::move(state));
}

Result<std::string> RunningPlugin::finish(const ExecLimits& limits) {
  const std::unique_ptr<State> state = std::move(state_);
  VMLANE_TRY(collect(state->child, state->program, state->output, state->error, limits));
  const int status = state->child.reap();
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return std::move(state->output.text);
  return fail(plugin_failure(state->program, status, state->output, state->error));
}

Result<std::string> run_plugin(const fs::path& program, const Environment& env, std::string_view input,
                               const ExecLimits& limits, InheritedFd inherited) {
  VMLANE_ASSIGN(RunningPlugin running, RunningPlugin::start(program, env, input, inherited));
  return running.finish(limits);
}

Result<Json> parse_plugin_result(std::string_view output, std::string_view type) {
  const std::string subject = "result of plugin \"" + std::string(type) + "\"";
  auto result = parse_json(output, subject);
  if (!result)
    return fail(Code::kDelegate, result.error().message, "the plugin ended with status 0 but gave no result");
  if (!result->is_object()) return fail(Code::kDelegate, subject + " is no JSON object", excerpt(output));
  return result;
}

Result<> ProcessExec::find(const std::string& cni_path, const std::string& type) {
  VMLANE_TRY(find_plugin(cni_path, type));
  return {};
}

Result<std::string> ProcessExec::run(const PluginCall& call) {
  const auto path = call.env.find("CNI_PATH");
  VMLANE_ASSIGN(const fs::path program, find_plugin(path == call.env.end() ? "" : path->second, call.type));
  return run_plugin(program, call.env, call.input, limits_);
}

}  // namespace vmlane
