// SPDX-License-Identifier: Apache-2.0
#include "policy/reader.h"
#include "policy/tables_file.h"
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
    return tables_file_content(
        {.generation = 42, .block = block, .attachments = {b, a}, .policies = {{"K", "ns/x"}, {"", ""}}});
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

}  // namespace
}  // namespace vmlane::policy
