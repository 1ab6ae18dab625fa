// SPDX-License-Identifier: Apache-2.0
#include "lab/guest_channel.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>

#include "core/base64.h"
#include "core/hex.h"
#include "lab/qemu_command.h"

namespace vmlane::lab {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr auto kChannelPoll = std::chrono::milliseconds(200);
// The guest's shell holds the line in memory and reads it byte by byte.
constexpr std::size_t kMaxText = 32 << 10;
// A guest that is up begins a command within milliseconds; one under heavy load needs longer.
constexpr auto kBeginLimit = std::chrono::seconds(60);

std::string make_nonce() {
  std::array<std::uint8_t, 16> bytes{};
  // Never short for so few bytes; the kernel waits for its pool at boot only.
  [[maybe_unused]] const ssize_t got = ::getrandom(bytes.data(), bytes.size(), 0);
  return to_hex(bytes);
}

}  // namespace

std::string shell_quote(const std::vector<std::string>& arguments) {
  std::string text;
  for (const std::string& argument : arguments) {
    text += text.empty() ? "'" : " '";
    for (const char c : argument) {
      if (c == '\'')
        text += "'\\''";
      else
        text += c;
    }
    text += "'";
  }
  return text;
}

Result<Fd> connect_in(const fs::path& directory, std::string_view socket) {
  const std::string subject = "cannot connect to " + (directory / socket).string();
  const Fd at(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!at) return fail(io_error(subject, errno));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = "/proc/self/fd/" + std::to_string(at.get()) + "/" + std::string(socket);
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd || ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return fail(io_error(subject, errno));
  return fd;
}

Result<GuestChannel> GuestChannel::connect(const fs::path& directory, const ProcessRef& qemu) {
  // QEMU makes its sockets right after it starts.
  constexpr auto kSocketLimit = std::chrono::seconds(20);
  const auto deadline = Clock::now() + kSocketLimit;
  while (true) {
    auto socket = connect_in(directory, kCommandSocket);
    if (socket) return GuestChannel(std::move(*socket), qemu);
    if (!is_alive(qemu)) return fail(Code::kIo, "QEMU has ended");
    if (Clock::now() >= deadline) return fail(std::move(socket.error()));
    ::poll(nullptr, 0, 20);
  }
}

Result<> GuestChannel::send(std::string_view text) const {
  while (!text.empty()) {
    const ssize_t sent = ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EINTR) return fail(io_error("cannot write to the guest's command port", errno));
    if (sent > 0) text.remove_prefix(static_cast<std::size_t>(sent));
  }
  return {};
}

Result<std::string> GuestChannel::receive() const {
  pollfd ready{socket_.get(), POLLIN, 0};
  if (::poll(&ready, 1, static_cast<int>(kChannelPoll.count())) <= 0) {
    if (!is_alive(qemu_)) return fail(Code::kIo, "QEMU has ended");
    return std::string();
  }
  std::array<char, 64 << 10> buffer;
  const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
  if (got < 0 && errno == EINTR) return std::string();
  if (got < 0) return fail(io_error("cannot read the guest's command port", errno));
  if (got == 0) return fail(Code::kIo, "QEMU has ended");
  return std::string(buffer.data(), static_cast<std::size_t>(got));
}

Result<> GuestChannel::wait_ready(std::chrono::milliseconds limit, const std::function<bool()>& interrupted) {
  const auto deadline = Clock::now() + limit;
  const std::string nonce = make_nonce();
  const std::string answer = nonce + ":hello\n";
  std::string seen;
  while (Clock::now() < deadline) {
    if (interrupted()) return fail(Code::kTryAgain, "interrupted");
    VMLANE_TRY(send("\nhello " + nonce + "\n"));
    VMLANE_ASSIGN(const std::string bytes, receive());
    seen += bytes;
    if (seen.find(answer) != std::string::npos) return {};
    if (seen.size() > answer.size()) seen.erase(0, seen.size() - answer.size());
  }
  return fail(Code::kTryAgain,
              "the guest was not ready after " + std::to_string(limit.count() / 1000) + " s");
}

Result<int> GuestChannel::run(const std::string& text, unsigned limit, const CommandResponse::Sink& output,
                              const CommandResponse::Sink& error, const std::function<bool()>& interrupted) {
  if (text.size() > kMaxText) {
    return fail(Code::kInvalidConfig, "the command is " + std::to_string(text.size()) +
                                          " bytes long, the limit is " + std::to_string(kMaxText));
  }
  const std::string nonce = make_nonce();
  const std::string payload = encode_base64(text);
  CommandResponse response(nonce, output, error);
  // The newline before ends whatever a former client left half written.
  VMLANE_TRY(send("\nrun " + nonce + " " + std::to_string(limit) + " " + std::to_string(payload.size()) +
                  " " + payload + "\n"));
  const auto begin_deadline = Clock::now() + kBeginLimit;
  while (true) {
    if (interrupted()) {
      VMLANE_TRY(send("\nstop " + nonce + "\n"));
      return fail(Code::kTryAgain, "interrupted");
    }
    VMLANE_ASSIGN(const std::string bytes, receive());
    if (response.feed(bytes)) break;
    if (!response.begun() && Clock::now() > begin_deadline)
      return fail(Code::kTryAgain, "the guest does not answer on its command port");
  }
  const std::string& status = response.status();
  if (status == "limit") return kLimitStatus;
  int number = 0;
  if (std::from_chars(status.data(), status.data() + status.size(), number).ec != std::errc())
    return fail(Code::kIo, "the guest's command port answered \"" + status + "\" instead of an exit status");
  return number;
}

}  // namespace vmlane::lab
