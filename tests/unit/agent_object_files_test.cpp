// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <set>

#include "agent/object_files.h"
#include "tests/support/host.h"

namespace vmlane::agent {
namespace {

namespace fs = std::filesystem;
using Clock = ObjectFiles::Clock;

std::string named(const std::string& name) {
  return "{\"kind\": \"Node\", \"metadata\": {\"name\": \"" + name + "\"}}";
}

class ObjectFilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::signal(SIGIO, SIG_IGN);
    fs::create_directory(directory());
    auto files = ObjectFiles::open({directory()});
    ASSERT_TRUE(files) << files.error().text();
    files_.emplace(std::move(*files));
  }

  fs::path directory() const { return root_.path() / "objects"; }
  void put(const std::string& file, const std::string& text) const {
    test::spit(root_.path() / "unfinished", text);
    fs::rename(root_.path() / "unfinished", directory() / file);
  }
  bool update(std::chrono::milliseconds later = {}) { return files_->update(Clock::now() + later); }
  // Names of the objects, in order.
  std::string names() const {
    std::string all;
    files_->visit([&](const ObjectPointer& object) {
      all += (all.empty() ? "" : " ") + object->json()["metadata"].value("name", "?");
    });
    return all;
  }
  std::string problems() const {
    std::string all;
    for (const auto& [path, error] : files_->problems()) all += error.text() + "\n";
    return all;
  }

  test::TemporaryDirectory root_;
  std::optional<ObjectFiles> files_;
};

TEST_F(ObjectFilesTest, FollowsFilesThatComeChangeAndGo) {
  EXPECT_FALSE(update());
  put("a.yaml", "kind: Node\nmetadata: {name: a1}\n---\nkind: Node\nmetadata: {name: a2}\n");
  put("b.json", named("b"));
  put("note.txt", "no object");
  put(".hidden.yaml", named("hidden"));
  EXPECT_TRUE(update());
  EXPECT_EQ(names(), "a1 a2 b");
  EXPECT_FALSE(update()) << "nothing has changed";
  put("b.json", named("b-other"));
  EXPECT_TRUE(update());
  EXPECT_EQ(names(), "a1 a2 b-other");
  fs::remove(directory() / "a.yaml");
  EXPECT_FALSE(update());
  EXPECT_EQ(names(), "a1 a2 b-other") << "another may come in its place";
  EXPECT_LE(files_->next(), Clock::now() + ObjectFiles::kGrace);
  EXPECT_TRUE(update(ObjectFiles::kGrace));
  EXPECT_EQ(names(), "b-other");
}

TEST_F(ObjectFilesTest, ObjectsOfAnUnchangedFileStayTheSame) {
  put("a.json", named("a"));
  update();
  std::vector<ObjectPointer> before;
  files_->visit([&](const ObjectPointer& object) { before.push_back(object); });
  put("b.json", named("b"));
  update();
  files_->visit([&](const ObjectPointer& object) {
    if (object->json()["metadata"]["name"] == "a") {
      EXPECT_EQ(object, before[0]);
    }
  });
}

TEST_F(ObjectFilesTest, ChangesTellOfTheObjectsThatDifferAlone) {
  const auto names_of = [](const std::vector<ObjectPointer>& objects) {
    std::set<std::string> keys;
    for (const ObjectPointer& object : objects) keys.insert(object->key);
    std::string all;
    for (const std::string& key : keys) all += key + ";";
    return all;
  };
  put("a.yaml", "kind: Node\nmetadata: {name: a1}\n---\nkind: Node\nmetadata: {name: a2}\n");
  put("b.json", named("b"));
  put("c.yaml", "kind: ConfigMap\nmetadata: {name: c}\n");
  update();
  EXPECT_EQ(names_of(files_->take_changes().come), "Node a1;Node a2;Node b;") << "nobody reads a ConfigMap";
  put("a.yaml", "kind: Node\nmetadata: {name: a1}\n---\nkind: Node\nmetadata: {name: a3}\n");
  update();
  const ObjectChanges changes = files_->take_changes();
  EXPECT_EQ(names_of(changes.gone), "Node a2;");
  EXPECT_EQ(names_of(changes.come), "Node a3;");
  put("b.json", named("b"));
  update();
  EXPECT_TRUE(files_->take_changes().empty()) << "it says what it said";
  fs::remove(directory() / "a.yaml");
  update();
  EXPECT_TRUE(files_->take_changes().empty()) << "another may come in its place";
  update(ObjectFiles::kGrace);
  EXPECT_EQ(names_of(files_->take_changes().gone), "Node a1;Node a3;");
  put("b.json", named("b1"));
  update();
  put("b.json", named("b2"));
  update();
  const ObjectChanges twice = files_->take_changes();
  EXPECT_EQ(names_of(twice.gone), "Node b;");
  EXPECT_EQ(names_of(twice.come), "Node b2;") << "what was there in between is nobody's business any more";
}

TEST_F(ObjectFilesTest, WhatOnlyTheServerReadsIsNotKept) {
  put("a.json",
      R"({"kind": "Node", "metadata": {"name": "a", "managedFields": [{"manager": "someone"}], "annotations":
          {"kubectl.kubernetes.io/last-applied-configuration": "{}", "kept": "yes"}}})");
  update();
  const ObjectChanges changes = files_->take_changes();
  ASSERT_EQ(changes.come.size(), 1U);
  EXPECT_EQ(changes.come[0]->json(), Json::parse(R"({"kind": "Node", "metadata": {"name": "a", "annotations":
                                                  {"kept": "yes"}}})"));
}

TEST_F(ObjectFilesTest, FileWithASecondNameIsLookedAtByTheTimer) {
  test::spit(root_.path() / "elsewhere", named("one"));
  fs::create_hard_link(root_.path() / "elsewhere", directory() / "a.json");
  update();
  EXPECT_EQ(names(), "one");
  test::spit(root_.path() / "elsewhere", named("two-and-longer"));  // no event in the directory
  EXPECT_TRUE(update(std::chrono::seconds(3)));
  EXPECT_EQ(names(), "two-and-longer");
}

TEST_F(ObjectFilesTest, BrokenFileCountsAsBeforeAndIsNamed) {
  put("a.json", named("a"));
  put("b.yaml", "kind: [\n");
  EXPECT_TRUE(update());
  EXPECT_EQ(names(), "a");
  EXPECT_NE(problems().find("b.yaml"), std::string::npos) << problems();
  put("a.json", "{\"kind\": ");
  EXPECT_TRUE(update());
  EXPECT_EQ(names(), "a");
  EXPECT_NE(problems().find("a.json"), std::string::npos) << problems();
  EXPECT_FALSE(update()) << "told once";
  put("a.json", named("a"));
  put("b.yaml", named("b"));
  EXPECT_TRUE(update());
  EXPECT_EQ(problems(), "");
  EXPECT_EQ(names(), "a b");
  put("b.yaml", "{");
  update();
  fs::remove(directory() / "b.yaml");
  update();
  EXPECT_TRUE(update(ObjectFiles::kGrace));
  EXPECT_EQ(problems(), "") << "the problem goes with its file";
}

TEST_F(ObjectFilesTest, FileIsReadWhenItsWriterHasClosedIt) {
  put("a.json", named("a"));
  update();
  {
    const Fd writer(::open((directory() / "a.json").c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
    const std::string text = named("written");
    ASSERT_EQ(::write(writer.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
    EXPECT_FALSE(update());
    EXPECT_EQ(names(), "a");
    EXPECT_TRUE(update(std::chrono::seconds(2)));
    EXPECT_EQ(names(), "a");
    EXPECT_NE(problems().find("open for writing"), std::string::npos) << problems();
  }
  EXPECT_TRUE(update());
  EXPECT_EQ(names(), "written");
  EXPECT_EQ(problems(), "");
}

TEST_F(ObjectFilesTest, SymbolicLinksOfAConfigMapAreFollowed) {
  fs::create_directory(directory() / "..v1");
  fs::create_directory(directory() / "..v2");
  test::spit(directory() / "..v1/a.json", named("one"));
  test::spit(directory() / "..v2/a.json", named("two"));
  fs::create_directory_symlink("..v1", directory() / "..data");
  fs::create_symlink("..data/a.json", directory() / "a.json");
  update();
  EXPECT_EQ(names(), "one");
  fs::create_directory_symlink("..v2", directory() / "..new");
  fs::rename(directory() / "..new", directory() / "..data");
  EXPECT_TRUE(update());
  EXPECT_EQ(names(), "two");
}

TEST_F(ObjectFilesTest, DirectoryThatIsGoneStaysInForce) {
  put("a.json", named("a"));
  update();
  fs::rename(directory(), root_.path() / "aside");
  EXPECT_TRUE(update());
  EXPECT_TRUE(update(ObjectFiles::kGrace) == false) << problems();
  EXPECT_EQ(names(), "a");
  EXPECT_NE(problems().find(directory().string()), std::string::npos) << problems();
  fs::create_directory(directory());
  put("b.json", named("b"));
  EXPECT_TRUE(update());
  update(ObjectFiles::kGrace);
  EXPECT_EQ(names(), "b");
  EXPECT_EQ(problems(), "");
}

TEST_F(ObjectFilesTest, OnlyDirectoriesAreWatched) {
  test::spit(root_.path() / "file", "");
  for (const char* path : {"file", "missing"}) {
    const auto opened = ObjectFiles::open({root_.path() / path});
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, Code::kInvalidConfig);
    EXPECT_NE(opened.error().text().find(path), std::string::npos);
  }
}

}  // namespace
}  // namespace vmlane::agent
