// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "core/json.h"

namespace vmlane {
namespace {

std::string problem(std::string_view text) {
  const auto parsed = parse_json(text, "the config");
  if (parsed) return "accepted: " + parsed->dump();
  EXPECT_EQ(parsed.error().code, Code::kDecode);
  EXPECT_TRUE(parsed.error().message.starts_with("the config")) << parsed.error().message;
  return parsed.error().message;
}

bool mentions(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(JsonTest, OneDocumentIsDecoded) {
  const auto json = parse_json(" {\"a\": [1, -2, 3.5, true, null, \"\\u00e4\"]}\n", "it");
  ASSERT_TRUE(json) << json.error().text();
  EXPECT_EQ((*json)["a"][5], "\xc3\xa4");
}

TEST(JsonTest, SyntaxErrorsHaveLineAndColumn) {
  EXPECT_TRUE(mentions(problem("{\n  \"a\": 1,\n  \"b\" 2\n}"), "line 3, column 7"))
      << problem("{\n  \"a\": 1,\n  \"b\" 2\n}");
  EXPECT_TRUE(mentions(problem("x"), "line 1, column 1")) << problem("x");
  EXPECT_TRUE(mentions(problem("{\"a\":1,}"), "line 1, column 8")) << problem("{\"a\":1,}");
  EXPECT_TRUE(mentions(problem("{'a':1}"), "line 1, column 2")) << problem("{'a':1}");
}

TEST(JsonTest, CutDocumentsEndTooEarly) {
  for (const char* text : {"{", "{\"a\":", "{\"a\":1", "[1,", "\"abc", "{\"a\":tru"}) {
    const std::string found = problem(text);
    EXPECT_TRUE(mentions(found, "ends too early")) << text << ": " << found;
    EXPECT_TRUE(mentions(found, "line 1")) << text << ": " << found;
  }
}

TEST(JsonTest, EmptyInputIsSaidToBeEmpty) {
  EXPECT_TRUE(mentions(problem(""), "is empty"));
  EXPECT_TRUE(mentions(problem(" \r\n\t"), "is empty"));
}

TEST(JsonTest, TextAfterTheDocumentIsRefused) {
  EXPECT_TRUE(mentions(problem("{} {}"), "line 1, column 4")) << problem("{} {}");
  EXPECT_TRUE(mentions(problem("{}\nx"), "line 2, column 1")) << problem("{}\nx");
  EXPECT_TRUE(mentions(problem(std::string_view("{}\0{}", 5)), "line 1, column 3"));
}

TEST(JsonTest, DuplicateKeysAreRefusedByNameAndPlace) {
  const std::string found = problem("{\"mtu\": 1,\n \"mtu\": 2}");
  EXPECT_TRUE(mentions(found, "\"mtu\"")) << found;
  EXPECT_TRUE(mentions(found, "line 2")) << found;
  EXPECT_TRUE(mentions(problem("{\"a\":{\"b\":1,\"b\":1}}"), "given twice"));
  EXPECT_TRUE(mentions(problem("{\"a\":1,\"\\u0061\":2}"), "given twice"));
  EXPECT_TRUE(parse_json("{\"a\":{\"b\":1},\"c\":{\"b\":1},\"d\":[{\"b\":1},{\"b\":1}]}", "it"));
}

TEST(JsonTest, DepthIsLimited) {
  EXPECT_TRUE(parse_json(std::string(64, '[') + std::string(64, ']'), "it"));
  EXPECT_TRUE(mentions(problem(std::string(65, '[') + std::string(65, ']')), "64 levels"));
  EXPECT_TRUE(mentions(problem(std::string(1'000'000, '[')), "64 levels"));
}

TEST(JsonTest, SizeIsLimited) {
  constexpr std::size_t kLimit = std::size_t{4} << 20;
  EXPECT_TRUE(parse_json("\"" + std::string(kLimit - 2, 'a') + "\"", "it"));
  EXPECT_TRUE(mentions(problem("\"" + std::string(kLimit - 1, 'a') + "\""), std::to_string(kLimit)));
}

TEST(JsonTest, InvalidUtf8IsRefused) {
  EXPECT_TRUE(mentions(problem("{\"a\":\"\xff\"}"), "line 1, column 7")) << problem("{\"a\":\"\xff\"}");
  EXPECT_FALSE(parse_json("\"\xc3\"", "it"));
  EXPECT_FALSE(parse_json("\"\\ud800\"", "it"));
}

TEST(JsonTest, NumbersOutOfRangeAreErrors) {
  EXPECT_TRUE(mentions(problem("{\"a\":\n1e999}"), "line 2")) << problem("{\"a\":\n1e999}");
}

TEST(JsonTest, TextNeverThrows) {
  EXPECT_EQ(to_text(Json{{"a", 1}}), "{\"a\":1}");
  EXPECT_NO_THROW(to_text(Json("\xff")));
}

class ObjectReaderTest : public ::testing::Test {
 protected:
  Json json_ = {{"text", "x"},        {"number", 7},       {"flag", true},
                {"list", {"a", "b"}}, {"mixed", {"a", 1}}, {"object", {{"k", 1}}},
                {"nothing", nullptr}, {"real", 1.5},       {"huge", 18446744073709551615ULL},
                {"negative", -1}};
  ObjectReader reader_{json_, "ipam.", Code::kInvalidConfig};
};

TEST_F(ObjectReaderTest, ReadsEachType) {
  EXPECT_EQ(reader_.string("text").value(), "x");
  EXPECT_EQ(reader_.integer("number", 0, 7).value(), 7);
  EXPECT_EQ(reader_.integer("negative", -5, 5).value(), -1);
  EXPECT_EQ(reader_.boolean("flag").value(), true);
  EXPECT_EQ(reader_.strings("list").value(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ((*reader_.object("object").value())["k"], 1);
  EXPECT_EQ(reader_.array("list").value()->size(), 2U);
}

TEST_F(ObjectReaderTest, AbsentAndNullAreNoValue) {
  for (const char* key : {"absent", "nothing"}) {
    EXPECT_FALSE(reader_.string(key).value()) << key;
    EXPECT_FALSE(reader_.boolean(key).value()) << key;
    EXPECT_FALSE(reader_.integer(key, 0, 1).value()) << key;
    EXPECT_FALSE(reader_.strings(key).value()) << key;
    EXPECT_EQ(reader_.object(key).value(), nullptr) << key;
    EXPECT_EQ(reader_.array(key).value(), nullptr) << key;
  }
}

TEST_F(ObjectReaderTest, ErrorsNameKeyValueAndWhatWasExpected) {
  const auto expect = [](const auto& result, const std::string& message) {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::kInvalidConfig);
    EXPECT_EQ(result.error().message, message);
  };
  expect(reader_.string("number"), "key \"ipam.number\" is 7, expected a string");
  expect(reader_.boolean("text"), "key \"ipam.text\" is \"x\", expected true or false");
  expect(reader_.integer("text", 0, 1), "key \"ipam.text\" is \"x\", expected a whole number from 0 to 1");
  expect(reader_.integer("number", 0, 6), "key \"ipam.number\" is 7, expected a whole number from 0 to 6");
  expect(reader_.integer("negative", 0, 6),
         "key \"ipam.negative\" is -1, expected a whole number from 0 to 6");
  expect(reader_.integer("real", 0, 6), "key \"ipam.real\" is 1.5, expected a whole number from 0 to 6");
  expect(reader_.integer("huge", 0, 6),
         "key \"ipam.huge\" is 18446744073709551615, expected a whole number from 0 to 6");
  expect(reader_.strings("mixed"), "key \"ipam.mixed\" is [\"a\",1], expected a list of strings");
  expect(reader_.strings("text"), "key \"ipam.text\" is \"x\", expected a list of strings");
  expect(reader_.object("list"), "key \"ipam.list\" is [\"a\",\"b\"], expected an object");
  expect(reader_.array("object"), "key \"ipam.object\" is {\"k\":1}, expected a list");
}

TEST_F(ObjectReaderTest, LongValuesAreCutInErrors) {
  const Json json = {{"a", std::string(10'000, 'x')}};
  ObjectReader reader(json, "", Code::kInvalidConfig);
  const auto result = reader.boolean("a");
  ASSERT_FALSE(result);
  EXPECT_LT(result.error().message.size(), 300U);
}

TEST_F(ObjectReaderTest, KeysThatNobodyAskedForAreUnknown) {
  const Json json = {{"a", 1}, {"b", 2}, {"c", nullptr}};
  ObjectReader reader(json, "", Code::kInvalidConfig);
  EXPECT_TRUE(reader.integer("a", 0, 9));
  EXPECT_EQ(reader.unknown(), (std::vector<std::string>{"b", "c"}));
}

}  // namespace
}  // namespace vmlane
