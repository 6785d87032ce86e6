#include "../base/json.h"

#include "check.h"

namespace starling::json {
namespace {

std::string Quoted(std::string_view text) {
  std::string out;
  AppendString(out, text);
  return out;
}

TEST(json_reads_what_it_writes) {
  std::string text = Object().Int("n", -5).String("s", "a\"b\\\n\x01é").Bool("b", true).Raw("l", "[1,2]").Done();
  auto value = Parse(text);
  CHECK(value.ok());
  CHECK_EQ(value->Find("n")->integer, -5);
  CHECK_EQ(value->Find("s")->string, "a\"b\\\n\x01é");
  CHECK_EQ(value->Find("l")->array.size(), size_t{2});
}

TEST(json_takes_numbers_as_the_grammar_has_them) {
  for (const char* text : {"0", "-0", "10", "-1.5", "0.25", "1e3", "2E-2", "1.0e+5"}) CHECK(Parse(text).ok());
  for (const char* text : {"+1", "01", "-", "-01", ".5", "1.", "1e", "1e+", "0x1", "1.2.3", "1-2"}) CHECK(!Parse(text).ok());
}

TEST(json_reads_escapes_of_all_planes) {
  auto value = Parse(R"(["\u0041\u00e9\u20ac\ud83d\ude00"])");
  CHECK(value.ok());
  CHECK_EQ(value->array[0].string, "Aé€😀");
}

TEST(json_reads_unsigned_numbers_and_takes_null_for_absent) {
  auto value = Parse(R"({"n":18446744073709551615,"none":null,"list":[0,9223372036854775808],"minus":-1})");
  CHECK(value.ok());
  std::string fault;
  Reader reader(*value, "", &fault);
  CHECK_EQ(reader.Uint("n", 0), UINT64_MAX);
  CHECK(!reader.Has("none"));
  CHECK_EQ(reader.String("none", "x"), "x");
  CHECK_EQ(reader.Uints("list", UINT64_MAX)[1], uint64_t{1} << 63);
  CHECK_EQ(fault, "");
  CHECK_EQ(reader.Int("n", 7, 0, INT64_MAX), 7);
  CHECK_EQ(fault, "n: must be an integer from 0 to 9223372036854775807");
}

TEST(json_refuses_damage_with_its_offset) {
  for (const char* text : {"", "{", "[1,]", "{\"a\"}", "\"\\ud800\"", "\"\\q\"", "01x", "[1] 2", "\"\x01\"", "nul", "1e999",
                           "99999999999999999999"}) {
    auto value = Parse(text);
    CHECK(!value.ok());
  }
  CHECK_EQ(Parse("[1,]").error().message, "JSON: expected a value at byte 3");
  std::string deep(100, '[');
  CHECK_EQ(Parse(deep).error().message, "JSON: nested too deeply at byte 33");
}

TEST(json_writes_bytes_that_are_no_utf8_as_replacements) {
  CHECK_EQ(Quoted("a\xff"
                  "b"),
           "\"a\xef\xbf\xbd"
           "b\"");
  // Overlong form, surrogate, cut sequence.
  CHECK_EQ(Quoted("\xc0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\"");
  CHECK_EQ(Quoted("\xed\xa0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
  CHECK_EQ(Quoted("\xe2\x82"), "\"\xef\xbf\xbd\xef\xbf\xbd\"");
}

}  // namespace
}  // namespace starling::json
