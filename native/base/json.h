// A small strict JSON reader and writer (RFC 8259) for spec files and the shim's protocol. Input is bounded in depth;
// numbers are 64-bit integers when written so, else doubles. Duplicate keys: the last one counts.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "result.h"

namespace starling::json {

struct Member;

class Value {
 public:
  // kUint: an integer above int64_t's range; `integer` holds its 64 bits.
  enum class Type { kNull, kBool, kInt, kUint, kDouble, kString, kArray, kObject };

  Type type = Type::kNull;
  bool boolean = false;
  int64_t integer = 0;
  double number = 0;
  std::string string;
  std::vector<Value> array;
  std::vector<Member> object;

  // The member `key`; null when absent or when this is no object.
  const Value* Find(std::string_view key) const;
};

// Of an object.
struct Member {
  std::string name;
  Value value;
};

// Whole text as one value. Errors name the byte offset.
Result<Value> Parse(std::string_view text);

// Appends `text` to `out` as a JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD.
void AppendString(std::string& out, std::string_view text);

// Builds one object, member by member: Object().Int("pid", 7).String("state", "running").Done().
class Object {
 public:
  Object& String(std::string_view key, std::string_view value);
  Object& Int(std::string_view key, int64_t value);
  Object& Bool(std::string_view key, bool value);
  // `value` is JSON already.
  Object& Raw(std::string_view key, std::string_view value);
  std::string Done() { return text_ + "}"; }

 private:
  void Key(std::string_view key);
  std::string text_ = "{";
};

// Reads members of an object with checks, remembering the first fault by the member's full path ("mounts[2].target").
// A member that is null counts as absent.
// After an unreadable member the getters go on with defaults; ask status() at the end.
class Reader {
 public:
  Reader(const Value& value, std::string path, std::string* first_fault);

  std::string String(std::string_view key, std::string_view fallback = "") const;
  int64_t Int(std::string_view key, int64_t fallback, int64_t least, int64_t most) const;
  uint64_t Uint(std::string_view key, uint64_t fallback, uint64_t most = UINT64_MAX) const;
  bool Bool(std::string_view key, bool fallback) const;
  std::vector<std::string> Strings(std::string_view key) const;
  std::vector<uint64_t> Uints(std::string_view key, uint64_t most) const;
  // Elements of an array of objects; empty when absent.
  std::vector<Reader> Objects(std::string_view key) const;
  // The member object; an empty one when absent.
  Reader Child(std::string_view key) const;
  // Members of the object `key` whose values are strings.
  std::vector<std::pair<std::string, std::string>> Map(std::string_view key) const;
  bool Has(std::string_view key) const { return Member(key) != nullptr; }
  // Members of the object `key`, each as a reader of its own.
  std::vector<std::pair<std::string, Reader>> Children(std::string_view key) const;
  void Fault(std::string_view key, std::string_view problem) const;

 private:
  const Value* Member(std::string_view key) const;

  const Value* value_;
  std::string path_;
  std::string* first_fault_;
};

}  // namespace starling::json
