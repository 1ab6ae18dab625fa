// SPDX-License-Identifier: Apache-2.0
#include "cloud-init/seed_image.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <sstream>
#include <utility>
#include <vector>

#include "core/files.h"

namespace vmlane::cloud_init {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kOwnerOnly = 0600;
constexpr mode_t kOwnerOnlyDirectory = 0700;
constexpr std::string_view kVolumeLabel = "cidata";

// A directory beside a file that is being made, so that the file can be renamed into place; removed with what
// is left in it.
class Staging {
 public:
  static Result<Staging> beside(const fs::path& file) {
    std::string name = (file.parent_path() / ("." + file.filename().string() + ".XXXXXX")).string();
    if (::mkdtemp(name.data()) == nullptr)
      return fail(io_error("cannot make a directory in " + file.parent_path().string(), errno));
    return Staging(name);
  }
  Staging(Staging&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  Staging& operator=(Staging&&) = delete;
  ~Staging() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  explicit Staging(fs::path path) : path_(std::move(path)) {}
  fs::path path_;
};

// The command of the first program that is there, up to its options; all take mkisofs's.
Result<std::vector<std::string>> image_program(const std::string& search_path) {
  const std::array<std::vector<std::string>, 3> programs = {
      {{"xorriso", "-as", "genisoimage"}, {"genisoimage"}, {"mkisofs"}}};
  for (const auto& program : programs) {
    std::istringstream directories(search_path);
    for (std::string directory; std::getline(directories, directory, ':');) {
      std::vector<std::string> command = program;
      command[0] = (fs::path(directory.empty() ? "." : directory) / program[0]).string();
      std::error_code ignored;
      if (fs::is_regular_file(command[0], ignored) && ::access(command[0].c_str(), X_OK) == 0) return command;
    }
  }
  return fail(Code::kNotFound, "a NoCloud drive needs xorriso or genisoimage, and PATH has neither",
              "install the package xorriso or genisoimage, or give the VM the seed's files another way");
}

Result<pid_t> spawn(const std::vector<std::string>& command, int output) {
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions{};
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, arguments[0], &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return fail(io_error("cannot run " + command[0], error));
  return pid;
}

// Runs the command to its end. What it says is told only when it fails.
Result<> run(const std::vector<std::string>& command) {
  constexpr std::size_t kMaxOutput = 64 << 10;
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail(io_error("cannot make a pipe", errno));
  Fd read(ends[0]);
  Fd write(ends[1]);
  const auto pid = spawn(command, write.get());
  if (!pid) return fail(pid.error());
  write = Fd();
  const auto output = read_all(read.get(), "output of " + command[0], kMaxOutput);
  read = Fd();  // one that says more ends with its next word
  int status = 0;
  while (::waitpid(*pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!output) return fail(output.error());
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  const std::string how = WIFEXITED(status) ? "exit status " + std::to_string(WEXITSTATUS(status))
                                            : "signal " + std::to_string(WTERMSIG(status));
  return fail(Code::kIo, command[0] + " failed with " + how, *output);
}

}  // namespace

Result<> write_seed_directory(const fs::path& directory, const Seed& data) {
  VMLANE_TRY(make_directory(directory, {.mode = kOwnerOnlyDirectory}));
  for (const auto& [name, content] : data.files())
    VMLANE_TRY(write_file_atomically(directory / name, *content, {.mode = kOwnerOnly}));
  return {};
}

Result<> write_seed_image(const fs::path& image, const Seed& data, const std::string& search_path) {
  VMLANE_ASSIGN(std::vector<std::string> command, image_program(search_path));
  VMLANE_ASSIGN(const Staging staging, Staging::beside(image));
  const fs::path files = staging.path() / "files";
  const fs::path made = staging.path() / "image";
  VMLANE_TRY(write_seed_directory(files, data));
  // Both extensions, so that the names are whole whichever a guest's kernel reads.
  command.insert(command.end(), {"-quiet", "-volid", std::string(kVolumeLabel), "-joliet", "-rational-rock",
                                 "-output", made.string(), files.string()});
  VMLANE_TRY(run(command));
  if (::chmod(made.c_str(), kOwnerOnly) != 0)
    return fail(io_error("cannot set the mode of " + image.string(), errno));
  if (::rename(made.c_str(), image.c_str()) != 0)
    return fail(io_error("cannot replace " + image.string(), errno));
  return sync_file(image);
}

}  // namespace vmlane::cloud_init
