// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "core/names.h"
#include "core/record.h"
#include "tests/support/host.h"

namespace vmlane {
namespace {

namespace fs = std::filesystem;
using test::spit;

AttachmentRecord sample(const std::string& container = "c1") {
  AttachmentRecord record;
  record.state = RecordState::kDone;
  record.key = {"blue", container, "eth0"};
  record.plugin = "vmlane-tap";
  record.netconf = {{"cniVersion", "1.1.0"}, {"name", "blue"}, {"ipam", {{"type", "host-local"}}}};
  record.cni_args = "K8S_POD_NAME=c1";
  record.cni_path = "/opt/cni/bin";
  record.netns = {"/run/netns/a", 4, 4026532000ULL, 77};
  record.boot_id = "0123456789abcdef0123456789abcdef";
  record.nad = "blue/net";
  record.network_id = 3;
  record.mac = "02:00:00:00:00:01";
  record.mtu = 1450;
  record.ipam = true;
  record.handles = {{"tap", "tap0"}};
  record.result = {{"cniVersion", "1.1.0"}};
  record.created = "2026-01-01T00:00:00Z";
  return record;
}

class RecordTest : public ::testing::Test {
 protected:
  RecordTest() {
    config_.state_dir = directory_.path() / "state";
    config_.run_dir = directory_.path() / "run";
    config_.vmlane_gid = ::getegid();
  }
  RecordStore store() const { return RecordStore(config_); }
  fs::path file_of(const std::string& id) const { return config_.attachments_dir() / (id + ".json"); }
  NodeConfig config_;

 private:
  test::TemporaryDirectory directory_;
};

TEST_F(RecordTest, RoundTripKeepsEverything) {
  const AttachmentRecord written = sample();
  ASSERT_TRUE(store().write(written));
  const auto read = store().read(written.key.id());
  ASSERT_TRUE(read && *read) << read.error().text();
  EXPECT_EQ((*read)->to_json(), written.to_json());
  EXPECT_EQ((*read)->netns.cookie, 77U);
  EXPECT_EQ((*read)->key, written.key);
}

TEST_F(RecordTest, RoundTripKeepsWhatIsUnset) {
  AttachmentRecord written = sample();
  written.state = RecordState::kIntent;
  written.nad.clear();
  written.network_id.reset();
  written.mac.reset();
  written.mtu.reset();
  written.netns.cookie.reset();
  written.handles = nullptr;
  written.result = nullptr;
  ASSERT_TRUE(store().write(written));
  const auto read = store().read(written.key.id());
  ASSERT_TRUE(read && *read);
  EXPECT_EQ((*read)->to_json(), written.to_json());
  EXPECT_FALSE((*read)->network_id);
  EXPECT_TRUE((*read)->handles.is_null());
}

TEST_F(RecordTest, FileCarriesSchemaAndIdUnderStateDir) {
  ASSERT_TRUE(store().write(sample()));
  const Json json = Json::parse(test::slurp(file_of(names::attachment_id("blue", "c1", "eth0"))));
  EXPECT_EQ(json["schema"], 1);
  EXPECT_EQ(json["id"], names::attachment_id("blue", "c1", "eth0"));
  EXPECT_EQ(json["state"], "done");
  EXPECT_EQ(json["cni_network"], "blue");
  EXPECT_EQ(json["network_id"], 3);
}

TEST_F(RecordTest, ModesAndGroup) {
  if (::geteuid() == 0) config_.vmlane_gid = 4321;
  ASSERT_TRUE(store().write(sample()));
  struct stat file {};
  struct stat directory {};
  ASSERT_EQ(::stat(file_of(sample().key.id()).c_str(), &file), 0);
  ASSERT_EQ(::stat(config_.attachments_dir().c_str(), &directory), 0);
  EXPECT_EQ(file.st_mode & 07777, 0640U);
  EXPECT_EQ(directory.st_mode & 07777, 0750U);
  EXPECT_EQ(file.st_gid, config_.vmlane_gid);
  EXPECT_EQ(directory.st_gid, config_.vmlane_gid);
}

TEST_F(RecordTest, MissingRecordIsNoValueAndRemovalIsIdempotent) {
  const std::string id = sample().key.id();
  EXPECT_FALSE(store().read(id).value());
  ASSERT_TRUE(store().write(sample()));
  EXPECT_TRUE(store().remove(id));
  EXPECT_TRUE(store().remove(id));
  EXPECT_FALSE(store().read(id).value());
}

TEST_F(RecordTest, CutAtAnyByteIsAnErrorThatNamesTheFile) {
  ASSERT_TRUE(store().write(sample()));
  const std::string id = sample().key.id();
  const std::string whole = test::slurp(file_of(id));
  for (std::size_t size = 0; size + 2 < whole.size(); size++) {  // without its last newline it is still whole
    spit(file_of(id), whole.substr(0, size));
    const auto read = store().read(id);
    ASSERT_FALSE(read) << "cut at " << size;
    ASSERT_NE(read.error().text().find(id), std::string::npos) << read.error().text();
  }
}

TEST_F(RecordTest, ForeignContentIsAnError) {
  const std::string id = sample().key.id();
  ASSERT_TRUE(store().write(sample()));
  const Json good = sample().to_json();
  std::vector<std::string> bad = {"[]", "7", "null", "{}", "not json"};
  for (const auto& [key, value] : good.items()) {
    Json changed = good;
    changed[key] = Json::array({"wrong"});
    if (key != "id") bad.push_back(changed.dump());
  }
  for (const char* key : {"schema", "state", "cni_network", "container_id", "ifname", "plugin", "netconf",
                          "netns", "boot_id"}) {
    Json changed = good;
    changed.erase(key);
    bad.push_back(changed.dump());
  }
  Json newer = good;
  newer["schema"] = 2;
  bad.push_back(newer.dump());
  for (const std::string& content : bad) {
    spit(file_of(id), content);
    EXPECT_FALSE(store().read(id)) << content;
  }
}

TEST_F(RecordTest, UnknownKeysAreIgnored) {
  Json json = sample().to_json();
  json["added_later"] = {{"x", 1}};
  fs::create_directories(config_.attachments_dir());
  spit(file_of(sample().key.id()), json.dump());
  EXPECT_TRUE(store().read(sample().key.id()));
}

TEST_F(RecordTest, RecordUnderAnotherIdIsRefused) {
  ASSERT_TRUE(store().write(sample("c2")));
  const std::string id = sample("c1").key.id();
  fs::copy_file(file_of(sample("c2").key.id()), file_of(id));
  const auto read = store().read(id);
  ASSERT_FALSE(read);
  EXPECT_NE(read.error().text().find("another attachment"), std::string::npos);
}

TEST_F(RecordTest, F021_SymlinkInThePlaceOfARecordIsNeitherReadNorFollowed) {
  ASSERT_TRUE(store().write(sample("c2")));
  const fs::path target = config_.state_dir / "target";
  spit(target, sample().to_json().dump());
  const std::string id = sample().key.id();
  fs::create_symlink(target, file_of(id));
  EXPECT_FALSE(store().read(id));
  const std::string before = test::slurp(target);
  ASSERT_TRUE(store().write(sample()));
  EXPECT_EQ(test::slurp(target), before);
  fs::remove(file_of(id));
  fs::create_symlink(target, file_of(id));
  ASSERT_TRUE(store().remove(id));
  EXPECT_TRUE(fs::exists(target));
}

TEST_F(RecordTest, ListSortsByCreationAndReportsTheRest) {
  AttachmentRecord younger = sample("c1");
  younger.created = "2026-01-02T00:00:00Z";
  ASSERT_TRUE(store().write(younger));
  ASSERT_TRUE(store().write(sample("c2")));
  spit(config_.attachments_dir() / "README", "x");
  spit(config_.attachments_dir() / (std::string(32, 'a') + ".json"), "cut {");
  spit(config_.attachments_dir() / ".hidden.tmp", "temporary");
  fs::create_directory(config_.attachments_dir() / (std::string(32, 'b') + ".json"));
  const auto listing = store().list();
  ASSERT_TRUE(listing) << listing.error().text();
  ASSERT_EQ(listing->records.size(), 2U);
  EXPECT_EQ(listing->records[0].key.container_id, "c2");
  EXPECT_EQ(listing->records[1].key.container_id, "c1");
  EXPECT_EQ(listing->problems.size(), 3U);
  for (const Error& problem : listing->problems)
    EXPECT_NE(problem.text().find(config_.attachments_dir().string()), std::string::npos);
}

TEST_F(RecordTest, ListOfAMissingDirectoryIsEmptyAndOfAFileIsAnError) {
  const auto listing = store().list();
  ASSERT_TRUE(listing);
  EXPECT_TRUE(listing->records.empty());
  fs::create_directories(config_.state_dir);
  spit(config_.attachments_dir(), "a file");
  EXPECT_FALSE(store().list());
  EXPECT_FALSE(store().write(sample()));
}

}  // namespace
}  // namespace vmlane
