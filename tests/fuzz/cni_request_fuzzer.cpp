// SPDX-License-Identifier: Apache-2.0
// A call of a plugin. Input: lines NAME=VALUE of the environment, an empty line, standard input.
#include <algorithm>
#include <map>
#include <sstream>

#include "cni/protocol.h"
#include "tests/fuzz/fuzz.h"

namespace vmlane::fuzz {
namespace {

// The environment; `text` is what comes after it.
std::map<std::string, std::string, std::less<>> read_environment(std::string_view& text) {
  std::map<std::string, std::string, std::less<>> environment;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (line.empty()) break;
    const auto equals = line.find('=');
    if (equals != std::string_view::npos)
      environment[std::string(line.substr(0, equals))] = line.substr(equals + 1);
  }
  return environment;
}

// Reads of each request all that a lane does, and gives back what it was given.
cni::Plugin reading_plugin() {
  cni::Plugin plugin;
  plugin.name = "vmlane-example";
  const auto read_nic = [](const cni::Request& request) -> Result<> {
    VMLANE_TRY(cni::parse_nic_request(request));
    return {};
  };
  plugin.add = [](const cni::Request& request) -> Result<cni::CniResult> {
    VMLANE_TRY(cni::parse_nic_request(request));
    return request.prev_result.value_or(cni::CniResult());
  };
  plugin.del = plugin.check = plugin.status = read_nic;
  plugin.gc = [](const cni::Request& request) -> Result<> {
    VMLANE_TRY(cni::parse_valid_attachments(request));
    return {};
  };
  return plugin;
}

void require_answer(int status, const std::string& output, bool gives_result) {
  require(status == 0 || status == 1, "the exit status is 0 or 1");
  if (status == 0 && !gives_result) {
    require(output.empty(), "an operation without a result writes nothing", output);
    return;
  }
  const Json answer = Json::parse(output, nullptr, false);
  require(answer.is_object(), "standard output is one JSON object", output);
  if (status == 0) return;
  require(answer.contains("code") && answer["code"] != 0, "an error has a code", output);
  require(!answer.value("msg", "").empty(), "an error has a message", output);
}

}  // namespace
}  // namespace vmlane::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmlane;
  std::string_view text = fuzz::text_of(data, size);
  std::ostringstream out;
  std::ostringstream err;
  Invocation invocation;
  invocation.env = fuzz::read_environment(text);
  invocation.read_stdin = [text]() -> Result<std::string> { return std::string(text); };
  invocation.out = &out;
  invocation.err = &err;
  const std::string command = invocation.variable("CNI_COMMAND");
  const int status = cni::run(invocation, fuzz::reading_plugin());
  fuzz::require_answer(status, out.str(), command == "ADD" || command == "VERSION");
  return 0;
}
