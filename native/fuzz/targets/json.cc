// JSON as it is read and written, and base64.
#include "../../base/json.h"

#include "../../base/base64.h"
#include "../../base/utf8.h"
#include "input.h"

namespace starling::fuzz {
namespace {

bool IsUtf8(std::string_view text) {
  while (!text.empty()) {
    size_t length = utf8::SequenceLength(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

// Asks a value everything, by every name that it has and one that it has not.
void Visit(const json::Value& value) {
  std::string fault;
  json::Reader reader(value, "", &fault);
  auto ask = [&](std::string_view key) {
    (void)reader.String(key);
    (void)reader.Int(key, 7, -5, 1000);
    (void)reader.Uint(key, 7);
    (void)reader.Bool(key, true);
    (void)reader.Strings(key);
    (void)reader.Uints(key, 9);
    (void)reader.Map(key);
    (void)reader.Objects(key);
    (void)reader.Children(key);
    (void)reader.Child(key).Has("x");
  };
  ask("absent");
  for (const auto& [name, member] : value.object) {
    ask(name);
    Visit(member);
  }
  for (const json::Value& element : value.array) Visit(element);
}

void TryWriter(std::string_view bytes) {
  std::string written;
  json::AppendString(written, bytes);
  auto again = json::Parse(written);
  Require(again.ok() && again->type == json::Value::Type::kString, "what AppendString writes can be read");
  Require(IsUtf8(again->string), "what AppendString writes is UTF-8");
  Require(!IsUtf8(bytes) || again->string == bytes, "a text comes back as it was");
}

}  // namespace
}  // namespace starling::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace starling;
  fuzz::Input input(data, size);
  switch (input.Choice(3)) {
    case 0: {
      auto value = json::Parse(input.Rest());
      if (value.ok()) fuzz::Visit(*value);
      break;
    }
    case 1: fuzz::TryWriter(input.Rest()); break;
    default: {
      auto back = DecodeBase64(EncodeBase64(input.Rest()));
      fuzz::Require(back.ok() && *back == input.Rest(), "bytes come back from base64 as they were");
      auto decoded = DecodeBase64(input.Rest());
      if (decoded.ok()) fuzz::Require(EncodeBase64(*decoded).size() == input.Rest().size(), "base64 has one length");
    }
  }
  return 0;
}
