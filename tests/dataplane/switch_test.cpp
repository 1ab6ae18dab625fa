// SPDX-License-Identifier: Apache-2.0
#include "tests/dataplane/switch_test.h"

#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <thread>

#include "core/json_rpc.h"
#include "core/keeper_paths.h"
#include "core/names.h"
#include "tests/support/paths.h"

namespace vmlane::test {
namespace {

const std::vector<std::string> kSmall = {"--pages", "normal", "--buffers", "4096"};

Json ask_at(const std::filesystem::path& socket, const std::string& method,
            const Json& params = Json::object()) {
  auto client = json_rpc::Client::connect(socket, std::chrono::seconds(30));
  if (!client) return nullptr;
  auto answer = client->call(method, params);
  return answer ? std::move(*answer) : Json(nullptr);
}

std::map<std::string, std::string> environment(const std::filesystem::path& node_json) {
  return {{"VMLANE_CONFIG", node_json.string()}, {"PATH", "/usr/sbin:/usr/bin:/sbin:/bin"}};
}

}  // namespace

AnsweringGuest::AnsweringGuest(Nic& nic) {
  if (!nic.guest || !nic.address) return;
  thread_ = std::thread([this, &nic] {
    while (!stopping_) {
      const auto frame = nic.guest->receive_within(std::chrono::milliseconds(50));
      if (!frame) continue;
      if (const auto reply = answer(frame->bytes, nic.mac, *nic.address)) nic.guest->send(*reply);
    }
  });
}

AnsweringGuest::~AnsweringGuest() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
}

void SwitchTest::TearDown() {
  switch_.reset();
  PluginFixture::TearDown();
}

void SwitchTest::start_switch(const std::vector<std::string>& options, std::optional<uid_t> uid) {
  std::vector<std::string> command = {built("vmlane-switch")};
  command.insert(command.end(), kSmall.begin(), kSmall.end());
  command.insert(command.end(), options.begin(), options.end());
  start(command, uid);
}

void SwitchTest::start_keeper(const std::vector<std::string>& options,
                              const std::vector<std::string>& switch_options) {
  std::vector<std::string> command = {built("vmlane-keeper")};
  command.insert(command.end(), options.begin(), options.end());
  command.emplace_back("--");
  command.insert(command.end(), kSmall.begin(), kSmall.end());
  command.insert(command.end(), switch_options.begin(), switch_options.end());
  start(command, std::nullopt);
}

void SwitchTest::start(const std::vector<std::string>& command, std::optional<uid_t> uid) {
  const auto output = directory() / "switch.out";
  std::filesystem::remove(output);
  RunOptions run_options;
  run_options.env = environment(node_json());
  run_options.stdout_path = output;
  run_options.uid = uid;
  switch_ = std::make_unique<BackgroundProcess>(command, run_options);
  ASSERT_TRUE(
      eventually([&] { return slurp(output).find("ready") != std::string::npos; }, std::chrono::seconds(60)))
      << slurp(output) << slurp(log_file());
}

void SwitchTest::kill_switch() {
  ::kill(switch_->pid(), SIGKILL);
  switch_->wait(kPatience);
  switch_.reset();
}

Json SwitchTest::inside(const Json& more) const {
  return config(overlaid({{"bridge", nullptr}}, more));
}

Nic SwitchTest::make_nic(const std::string& container, const Json& config, std::uint64_t features,
                         unsigned pairs) {
  Nic nic{.container = container};
  const auto known = pods().find(container);
  const Pod& pod = known == pods().end() ? make_pod(container) : *known->second;
  const CniOutcome outcome = add(pod, config, container);
  EXPECT_CNI_OK(outcome);
  if (!outcome.ok()) return nic;
  nic.result = *outcome.document;
  const Json& interface = nic.result["interfaces"].back();
  nic.mac = *MacAddress::parse(interface.value("mac", ""));
  for (const Json& ip : nic.result.value("ips", Json::array()))
    if (!nic.address) nic.address = IpPrefix::parse(ip.value("address", ""))->address;
  auto guest = lab::VhostFrontend::listen(
      {.socket = interface.value("socketPath", ""), .features = features, .pairs = pairs});
  EXPECT_TRUE(guest) << guest.error().text();
  if (guest) nic.guest = std::move(*guest);
  return nic;
}

void SwitchTest::connect(Nic& nic) {
  ASSERT_NE(nic.guest, nullptr);
  const auto accepted = nic.guest->accept(std::chrono::seconds(30));
  ASSERT_TRUE(accepted) << accepted.error().text() << slurp(log_file());
  ASSERT_TRUE(eventually([&] { return port_of(nic).value("pairs", 0U) > 0; }, std::chrono::seconds(30)));
}

Nic SwitchTest::connect_nic(const std::string& container, const Json& config, std::uint64_t features,
                            unsigned pairs) {
  Nic nic = make_nic(container, config, features, pairs);
  connect(nic);
  return nic;
}

Json SwitchTest::ask(const std::string& method, const Json& params) const {
  return ask_at(node().switch_socket(), method, params);
}

RunResult SwitchTest::switch_command(std::vector<std::string> words, RunOptions options) const {
  std::vector<std::string> command = {built("vmlanectl"), "switch"};
  command.insert(command.end(), words.begin(), words.end());
  command.insert(command.end(), {"--config", node_json()});
  return run(command, options);
}

Json SwitchTest::ask_keeper(const std::string& method) const {
  return ask_at(keeper_socket(node()), method);
}

std::string SwitchTest::id_of(const Nic& nic) const {
  return names::attachment_id("blue", nic.container, "eth0");
}

Json SwitchTest::port_of(const Nic& nic) const {
  for (const Json& port : ask("ports")) {
    if (port.value("port", "") == id_of(nic)) return port;
  }
  return Json::object();
}

std::uint64_t SwitchTest::drops_at(const Nic& nic, const std::string& reason) const {
  for (const Json& row : ask("drops")) {
    if (row.value("port", "") == id_of(nic) && row.value("reason", "") == reason)
      return row.value("frames", std::uint64_t{0});
  }
  return 0;
}

bool arrives(Nic& at, const std::string& text, std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (std::chrono::steady_clock::now() < deadline) {
    const auto frame = at.guest->receive_within(std::chrono::milliseconds(100));
    if (frame && carries(frame->bytes, text)) return true;
  }
  return false;
}

bool passes(Nic& from, Nic& to, const std::string& text) {
  return from.guest && to.guest && from.guest->send(make_test_frame(to.mac, from.mac, text)) &&
         arrives(to, text);
}

}  // namespace vmlane::test
