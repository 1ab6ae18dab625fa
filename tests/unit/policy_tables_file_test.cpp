// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include <filesystem>
#include <set>

#include "policy/tables_file.h"
#include "policy/tables_file_writer.h"
#include "tests/support/host.h"

namespace vmlane::policy {
namespace {

class TablesFileTest : public ::testing::Test {
 protected:
  std::filesystem::path file() const { return directory_.path() / tables_file_name(); }
  static std::string content() {
    const std::vector<std::uint64_t> block{7, 8, 9};
    AttachedEndpoint b{.endpoint = 5, .network = 1};
    b.id.fill('b');
    AttachedEndpoint a{.endpoint = 4, .network = 0};
    a.id.fill('a');
    return tables_file_content({.generation = 42,
                                .block = block,
                                .attachments = {b, a},
                                .names = policy_names_text({{"K", "ns/x"}, {"", ""}})});
  }

  test::TemporaryDirectory directory_;
};

TEST_F(TablesFileTest, GivesBackWhatWasPutIn) {
  test::spit(file(), content());
  const auto mapped = TablesFile::map(file());
  ASSERT_TRUE(mapped && *mapped);
  const TablesFile& tables = **mapped;
  EXPECT_EQ(tables.generation(), 42U);
  EXPECT_EQ(tables.tables().size, 24U);
  EXPECT_EQ(static_cast<const std::uint64_t*>(tables.tables().base)[2], 9U);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tables.tables().base) % VMLANE_POLICY_LINE, 0U);
  ASSERT_NE(tables.find(std::string(32, 'b')), nullptr);
  EXPECT_EQ(tables.find(std::string(32, 'b'))->endpoint, 5U);
  EXPECT_EQ(tables.find(std::string(32, 'a'))->endpoint, 4U);
  EXPECT_EQ(tables.find(std::string(32, 'c')), nullptr);
  EXPECT_EQ(tables.find(""), nullptr);
  const auto policies = tables.policies();
  ASSERT_TRUE(policies) << policies.error().text();
  ASSERT_EQ(policies->size(), 2U);
  EXPECT_EQ((*policies)[0].id, "ns/x");
}

TEST_F(TablesFileTest, NoFileIsNoValue) {
  const auto mapped = TablesFile::map(file());
  ASSERT_TRUE(mapped) << mapped.error().text();
  EXPECT_FALSE(*mapped);
}

// Cut anywhere, of another version, or with an offset that leads out: refused, and never read past its end.
TEST_F(TablesFileTest, EveryCutAndEveryWrongNumberOfTheHeaderIsRefused) {
  const std::string whole = content();
  for (std::size_t size = 0; size < whole.size(); size += 7) {
    test::spit(file(), whole.substr(0, size));
    EXPECT_FALSE(TablesFile::map(file())) << size;
  }
  for (std::size_t at = 0; at < 12; at++) {  // magic and major
    std::string other = whole;
    other[at] = static_cast<char>(other[at] + 1);
    test::spit(file(), other);
    EXPECT_FALSE(TablesFile::map(file())) << at;
  }
  for (std::size_t at = 24; at < sizeof(TablesFileHeader); at += 8) {  // offsets, sizes and the count
    for (const std::uint64_t number : {~0ULL, 1ULL << 62, 1ULL << 32}) {
      std::string other = whole;
      std::memcpy(other.data() + at, &number, sizeof(number));
      test::spit(file(), other);
      EXPECT_FALSE(TablesFile::map(file())) << at << " " << number;
    }
  }
  std::filesystem::remove(file());
  std::filesystem::create_directory(file());
  EXPECT_FALSE(TablesFile::map(file()));
}

// Two files take turns; a reader keeps the generation that it has mapped.
class TablesFileWriterTest : public TablesFileTest {
 protected:
  Result<> write(std::uint64_t generation, const std::vector<Phase>* changes) {
    return writer_.write({.generation = generation, .block = block_, .attachments = {}, .names = "[]"},
                         changes);
  }
  // Changes a word of the block, as a phase of its own.
  std::vector<Phase> change(std::size_t word, std::uint64_t value) {
    block_[word] = value;
    constexpr std::size_t kWords = VMLANE_POLICY_LINE / sizeof(std::uint64_t);
    const std::size_t line = word / kWords * kWords;
    Line written{.offset = static_cast<std::uint32_t>(line * sizeof(std::uint64_t)), .words = {}};
    std::copy_n(block_.begin() + static_cast<std::ptrdiff_t>(line), kWords, written.words.begin());
    return {{written}};
  }
  // What the file of that name says now.
  std::pair<std::uint64_t, std::vector<std::uint64_t>> said() const {
    const auto mapped = TablesFile::map(file());
    EXPECT_TRUE(mapped && *mapped);
    const auto tables = (*mapped)->tables();
    const auto* words = static_cast<const std::uint64_t*>(tables.base);
    return {(*mapped)->generation(),
            std::vector<std::uint64_t>(words, words + tables.size / sizeof(std::uint64_t))};
  }

  std::vector<std::uint64_t> block_ = std::vector<std::uint64_t>(64);
  TablesFileWriter writer_{file(), {.mode = 0640}};
};

TEST_F(TablesFileWriterTest, EachGenerationIsWhole) {
  ASSERT_TRUE(write(1, nullptr));
  std::set<ino_t> files;
  for (std::uint64_t generation = 2; generation < 12; generation++) {
    const auto changes = change(generation * 5 % 64, generation);
    ASSERT_TRUE(write(generation, &changes));
    EXPECT_EQ(said(), std::pair(generation, block_));
    struct stat info {};
    ASSERT_EQ(::stat(file().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0640U);
    files.insert(info.st_ino);
  }
  EXPECT_EQ(files.size(), 2U) << "they take turns";
  ASSERT_TRUE(write(12, nullptr));
  EXPECT_EQ(said(), std::pair(std::uint64_t{12}, block_));
}

TEST_F(TablesFileWriterTest, WhatAReaderHoldsIsNotTouched) {
  ASSERT_TRUE(write(1, nullptr));
  auto changes = change(0, 7);
  ASSERT_TRUE(write(2, &changes));
  const auto held = TablesFile::map(file());
  ASSERT_TRUE(held && *held);
  for (std::uint64_t generation = 3; generation < 8; generation++) {
    changes = change(generation, 100 + generation);
    ASSERT_TRUE(write(generation, &changes));
    EXPECT_EQ(said(), std::pair(generation, block_));
    EXPECT_EQ((*held)->generation(), 2U);
    EXPECT_EQ(static_cast<const std::uint64_t*>((*held)->tables().base)[3], 0U);
  }
}

TEST_F(TablesFileWriterTest, SpareOfAnEarlierWriterIsNotTrusted) {
  ASSERT_TRUE(write(1, nullptr));
  auto changes = change(0, 7);
  ASSERT_TRUE(write(2, &changes));
  TablesFileWriter next(file(), {.mode = 0640});
  ASSERT_TRUE(next.write({.generation = 3, .block = block_, .attachments = {}, .names = "[]"}, nullptr));
  changes = change(40, 9);
  ASSERT_TRUE(next.write({.generation = 4, .block = block_, .attachments = {}, .names = "[]"}, &changes));
  EXPECT_EQ(said(), std::pair(std::uint64_t{4}, block_));
}

TEST_F(TablesFileWriterTest, DirectoryThatIsNotThereIsNamed) {
  TablesFileWriter lost(directory_.path() / "none" / "tables.1", {.mode = 0640});
  const auto written =
      lost.write({.generation = 1, .block = block_, .attachments = {}, .names = "[]"}, nullptr);
  ASSERT_FALSE(written);
  EXPECT_NE(written.error().text().find("none"), std::string::npos);
}

}  // namespace
}  // namespace vmlane::policy
