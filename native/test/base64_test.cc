#include "../base/base64.h"

#include "check.h"

namespace starling {
namespace {

TEST(base64_goes_both_ways) {
  const char* pairs[][2] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"\xff\xfe\x00", "//4="}};
  for (auto& [bytes, text] : pairs) {
    CHECK_EQ(EncodeBase64(bytes), text);
    CHECK_EQ(*DecodeBase64(text), bytes);
  }
  std::string all;
  for (int i = 0; i < 256; i++) all.push_back(static_cast<char>(i));
  CHECK_EQ(*DecodeBase64(EncodeBase64(all)), all);
}

TEST(base64_refuses_what_is_none) {
  for (const char* text : {"Zg", "Zg=", "Z===", "====", "Zg==Zg==", "Z\ng=", "Zg=a"}) CHECK(!DecodeBase64(text).ok());
}

}  // namespace
}  // namespace starling
