// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <sstream>

#include "cli/app.h"
#include "core/record.h"
#include "tests/support/host.h"

namespace vmlane::cli {
namespace {

struct Outcome {
  int status = 0;
  std::string out;
  std::string err;
};

class CliApp : public ::testing::Test {
 protected:
  CliApp() {
    test::spit(config_file(), Json{{"stateDir", (directory_.path() / "state").string()}}.dump());
    config_.state_dir = directory_.path() / "state";
  }

  std::filesystem::path config_file() const { return directory_.path() / "node.json"; }
  std::string lab_dir() const { return directory_.path() / "lab"; }

  Outcome run(const std::vector<std::string>& arguments, const std::string& input = {}) const {
    std::ostringstream out;
    std::ostringstream err;
    Invocation invocation;
    invocation.env["VMLANE_CONFIG"] = config_file();
    invocation.out = &out;
    invocation.err = &err;
    invocation.read_stdin = [&input]() -> Result<std::string> { return input; };
    const int status = run_vmlanectl(arguments, invocation);
    return {status, out.str(), err.str()};
  }

  std::string add_record(const std::string& container, const std::string& ifname = "eth0") const {
    AttachmentRecord record;
    record.state = RecordState::kDone;
    record.key = {"blue", container, ifname};
    record.plugin = "vmlane-tap";
    record.netconf = {{"name", "blue"}};
    record.pod = {.ns = "red", .name = "db-0", .uid = {}, .vm = {}, .migration = {}};
    record.mac = "02:00:00:00:00:01";
    record.mtu = 1450;
    record.result = {{"ips", {{{"address", "192.0.2.10/24"}}}}};
    record.created = "2026-01-01T00:00:00Z";
    const auto written = RecordStore(config_).write(record);
    EXPECT_TRUE(written) << written.error().text();
    return record.key.id();
  }

  test::TemporaryDirectory directory_;
  NodeConfig config_;
};

TEST_F(CliApp, WrongUsageIsStatusTwoAndNamesTheWord) {
  EXPECT_EQ(run({}).status, 2);
  const auto unknown = run({"attachment", "ls", "--colour"});
  EXPECT_EQ(unknown.status, 2);
  EXPECT_NE(unknown.err.find("--colour"), std::string::npos) << unknown.err;
  const auto format = run({"attachment", "ls", "-o", "xml"});
  EXPECT_EQ(format.status, 2);
  EXPECT_NE(format.err.find("xml"), std::string::npos) << format.err;
}

TEST_F(CliApp, NadLintEndsWithOneWhenThereAreErrors) {
  const auto network = [](const std::string& config) {
    return "kind: NetworkAttachmentDefinition\napiVersion: k8s.cni.cncf.io/v1\nmetadata: {name: blue}\n"
           "spec: {config: '" +
           config + "'}\n";
  };
  const std::string good = network(R"({"type": "vmlane-tap", "bridge": "br1"})");
  const std::string odd = network(R"({"type": "vmlane-tap", "brigde": "br1"})");
  const std::string wrong = network(R"({"type": "vmlane-tap", "mtu": "big"})");
  EXPECT_EQ(run({"nad", "lint", "-"}, good).status, 0);
  EXPECT_EQ(run({"nad", "lint", "-"}, good).out,
            "1 NetworkAttachmentDefinition, 0 virtual machines: 0 errors, 0 warnings\n");
  EXPECT_EQ(run({"nad", "lint", "-"}, odd).status, 0);
  EXPECT_EQ(run({"nad", "lint", "-", "--strict"}, odd).status, 1);
  EXPECT_EQ(run({"nad", "lint", "-"}, wrong).status, 1);
  const auto file = directory_.path() / "nad.yaml";
  test::spit(file, wrong);
  const auto json = run({"nad", "lint", file, "-o", "json"});
  EXPECT_EQ(json.status, 1);
  const Json rows = Json::parse(json.out);
  ASSERT_EQ(rows.size(), 1U) << json.out;
  EXPECT_EQ(rows[0]["path"], "$.mtu");
  EXPECT_EQ(rows[0]["severity"], "error");
  EXPECT_EQ(rows[0]["object"], "default/blue");
  EXPECT_EQ(run({"nad", "lint"}).status, 2);
  const auto none = run({"nad", "lint", "-"}, "kind: ConfigMap\napiVersion: v1\nmetadata: {name: blue}\n");
  EXPECT_EQ(none.status, 1);
  EXPECT_NE(none.err.find("no NetworkAttachmentDefinition"), std::string::npos) << none.err;
  EXPECT_NE(run({"nad", "lint", directory_.path() / "gone.yaml"}).err.find("gone.yaml"), std::string::npos);
}

TEST_F(CliApp, EveryCommandExplainsItself) {
  for (const std::vector<std::string>& command : {std::vector<std::string>{"lab", "up"},
                                                  {"lab", "ls"},
                                                  {"lab", "exec"},
                                                  {"lab", "console"},
                                                  {"lab", "down"},
                                                  {"attachment", "ls"},
                                                  {"attachment", "show"},
                                                  {"nad", "lint"}}) {
    const auto help = run({command[0], command[1], "--help"});
    EXPECT_EQ(help.status, 0);
    EXPECT_NE(help.out.find("Usage: vmlanectl"), std::string::npos) << help.out;
  }
  EXPECT_NE(run({"lab", "--help"}).out.find("vmlanectl lab up examples/demo.yaml"), std::string::npos);
}

TEST_F(CliApp, ListsAttachmentsInEveryFormat) {
  const std::string id = add_record("c1");
  const auto table = run({"attachment", "ls"});
  EXPECT_EQ(table.status, 0) << table.err;
  EXPECT_NE(table.out.find(
                id + "  vmlane-tap  blue     red/db-0  eth0    02:00:00:00:00:01  192.0.2.10/24  1450  done"),
            std::string::npos)
      << table.out;
  const auto json = Json::parse(run({"attachment", "ls", "-o", "json"}).out);
  ASSERT_EQ(json.size(), 1U);
  EXPECT_EQ(json[0]["pod"], "red/db-0");
  EXPECT_EQ(json[0]["container_id"], "c1");
  EXPECT_NE(run({"attachment", "ls", "-o", "yaml"}).out.find("\"mtu\": 1450"), std::string::npos);
}

TEST_F(CliApp, ShowsAnAttachmentByIdBeginningAndContainer) {
  const std::string id = add_record("c1");
  const std::string other = add_record("c1", "net1");
  for (const auto& arguments : {std::vector<std::string>{id}, {id.substr(0, 8)}, {"c1", "eth0"}}) {
    auto command = arguments;
    command.insert(command.begin(), {"attachment", "show", "-o", "json"});
    const auto shown = run(command);
    ASSERT_EQ(shown.status, 0) << shown.err;
    EXPECT_EQ(Json::parse(shown.out)["id"], id);
  }
  const auto unknown = run({"attachment", "show", "c2", "eth0"});
  EXPECT_EQ(unknown.status, 1);
  EXPECT_NE(unknown.err.find("no attachment \"c2\" with interface eth0"), std::string::npos) << unknown.err;
  EXPECT_EQ(run({"attachment", "show", ""}).status, 1) << "fits " << id << " and " << other;
}

TEST_F(CliApp, UnreadableRecordIsReportedAndTheOthersShown) {
  const std::string id = add_record("c1");
  const auto bad = config_.attachments_dir() / "ffffffffffffffffffffffffffffffff.json";
  test::spit(bad, "{\"schema\":");
  const auto listed = run({"attachment", "ls"});
  EXPECT_EQ(listed.status, 1);
  EXPECT_NE(listed.out.find(id), std::string::npos);
  EXPECT_NE(listed.err.find(bad.string()), std::string::npos) << listed.err;
}

TEST_F(CliApp, MissingNodeConfigIsNamed) {
  const auto listed = run({"attachment", "ls", "--config", "/nonexistent/node.json"});
  EXPECT_EQ(listed.status, 1);
  EXPECT_NE(listed.err.find("/nonexistent/node.json"), std::string::npos) << listed.err;
}

TEST_F(CliApp, WithoutALabCommandsSayHowToStartOne) {
  for (const auto& arguments : {std::vector<std::string>{"lab", "ls", "--dir", lab_dir()},
                                {"lab", "console", "vm-a", "--dir", lab_dir()},
                                {"attachment", "ls", "--lab", "--dir", lab_dir()}}) {
    const auto outcome = run(arguments);
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find("no lab in " + lab_dir()), std::string::npos) << outcome.err;
  }
  EXPECT_EQ(run({"lab", "exec", "vm-a", "--dir", lab_dir(), "--", "true"}).status, 125);
}

TEST_F(CliApp, ExecNeedsANameOrHostAndACommand) {
  EXPECT_EQ(run({"lab", "exec", "vm-a"}).status, 2);
  EXPECT_EQ(run({"lab", "exec", "--", "true"}).status, 2);
  EXPECT_EQ(run({"lab", "exec", "--host", "vm-a", "--", "true"}).status, 2);
}

TEST_F(CliApp, UpNamesTheFileThatIsNotThere) {
  const auto outcome = run({"lab", "up", "/nonexistent/a.yaml", "--dir", lab_dir()});
  EXPECT_EQ(outcome.status, 1);
  if (::geteuid() == 0) {
    EXPECT_NE(outcome.err.find("/nonexistent/a.yaml"), std::string::npos) << outcome.err;
  }
  EXPECT_FALSE(std::filesystem::exists(lab_dir()));
}

TEST_F(CliApp, DirectoriesOfOthersAreLeftAlone) {
  if (::geteuid() != 0) GTEST_SKIP() << "the lab needs root";
  const auto file = std::filesystem::path(lab_dir()) / "letter";
  std::filesystem::create_directory(lab_dir());
  test::spit(file, "mine");
  const auto down = run({"lab", "down", "--dir", lab_dir()});
  EXPECT_EQ(down.status, 1);
  EXPECT_NE(down.err.find("holds no lab"), std::string::npos) << down.err;
  EXPECT_EQ(test::slurp(file), "mine");
}

}  // namespace
}  // namespace vmlane::cli
