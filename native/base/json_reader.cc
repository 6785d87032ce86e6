#include "json.h"

namespace starling::json {
namespace {

const Value kEmptyObject = [] {
  Value value;
  value.type = Value::Type::kObject;
  return value;
}();

}  // namespace

Reader::Reader(const Value& value, std::string path, std::string* first_fault)
    : value_(&value), path_(std::move(path)), first_fault_(first_fault) {
  if (value.type != Value::Type::kObject && first_fault_->empty()) {
    *first_fault_ = path_.empty() ? "must be an object" : path_ + ": must be an object";
  }
}

const Value* Reader::Member(std::string_view key) const {
  const Value* member = value_->Find(key);
  return member == nullptr || member->type == Value::Type::kNull ? nullptr : member;
}

void Reader::Fault(std::string_view key, std::string_view problem) const {
  if (!first_fault_->empty()) return;
  *first_fault_ = path_.empty() ? std::string(key) : path_ + "." + std::string(key);
  first_fault_->append(": ").append(problem);
}

std::string Reader::String(std::string_view key, std::string_view fallback) const {
  const Value* member = Member(key);
  if (member == nullptr) return std::string(fallback);
  if (member->type != Value::Type::kString) {
    Fault(key, "must be a string");
    return std::string(fallback);
  }
  // Everything here ends in C strings: a zero byte would cut them short unseen.
  if (member->string.find('\0') != std::string::npos) Fault(key, "must not contain a zero byte");
  return member->string;
}

int64_t Reader::Int(std::string_view key, int64_t fallback, int64_t least, int64_t most) const {
  const Value* member = Member(key);
  if (member == nullptr) return fallback;
  if (member->type != Value::Type::kInt || member->integer < least || member->integer > most) {
    Fault(key, "must be an integer from " + std::to_string(least) + " to " + std::to_string(most));
    return fallback;
  }
  return member->integer;
}

uint64_t Reader::Uint(std::string_view key, uint64_t fallback, uint64_t most) const {
  const Value* member = Member(key);
  if (member == nullptr) return fallback;
  bool unsigned_value = member->type == Value::Type::kUint || (member->type == Value::Type::kInt && member->integer >= 0);
  if (!unsigned_value || static_cast<uint64_t>(member->integer) > most) {
    Fault(key, "must be an integer from 0 to " + std::to_string(most));
    return fallback;
  }
  return static_cast<uint64_t>(member->integer);
}

bool Reader::Bool(std::string_view key, bool fallback) const {
  const Value* member = Member(key);
  if (member == nullptr) return fallback;
  if (member->type != Value::Type::kBool) Fault(key, "must be true or false");
  return member->boolean;
}

std::vector<std::string> Reader::Strings(std::string_view key) const {
  std::vector<std::string> strings;
  const Value* member = Member(key);
  if (member == nullptr) return strings;
  if (member->type != Value::Type::kArray) Fault(key, "must be an array of strings");
  for (const Value& element : member->array) {
    if (element.type != Value::Type::kString || element.string.find('\0') != std::string::npos) {
      Fault(key, "must be an array of strings without zero bytes");
    }
    strings.push_back(element.string);
  }
  return strings;
}

std::vector<uint64_t> Reader::Uints(std::string_view key, uint64_t most) const {
  std::vector<uint64_t> numbers;
  const Value* member = Member(key);
  if (member == nullptr) return numbers;
  if (member->type != Value::Type::kArray) Fault(key, "must be an array of integers");
  for (const Value& element : member->array) {
    bool fits = element.type == Value::Type::kUint || (element.type == Value::Type::kInt && element.integer >= 0);
    if (!fits || static_cast<uint64_t>(element.integer) > most) {
      Fault(key, "must be an array of integers from 0 to " + std::to_string(most));
    }
    numbers.push_back(static_cast<uint64_t>(element.integer));
  }
  return numbers;
}

std::vector<Reader> Reader::Objects(std::string_view key) const {
  std::vector<Reader> readers;
  const Value* member = Member(key);
  if (member == nullptr) return readers;
  if (member->type != Value::Type::kArray) Fault(key, "must be an array of objects");
  for (size_t i = 0; i < member->array.size(); i++) {
    std::string prefix = path_.empty() ? std::string(key) : path_ + "." + std::string(key);
    readers.emplace_back(member->array[i], prefix + "[" + std::to_string(i) + "]", first_fault_);
  }
  return readers;
}

Reader Reader::Child(std::string_view key) const {
  const Value* member = Member(key);
  std::string path = path_.empty() ? std::string(key) : path_ + "." + std::string(key);
  return Reader(member == nullptr ? kEmptyObject : *member, std::move(path), first_fault_);
}

std::vector<std::pair<std::string, Reader>> Reader::Children(std::string_view key) const {
  std::vector<std::pair<std::string, Reader>> children;
  const Value* member = Member(key);
  if (member == nullptr) return children;
  if (member->type != Value::Type::kObject) Fault(key, "must be an object of objects");
  std::string prefix = path_.empty() ? std::string(key) : path_ + "." + std::string(key);
  for (const auto& [name, value] : member->object) {
    children.emplace_back(name, Reader(value, prefix + "[\"" + name + "\"]", first_fault_));
  }
  return children;
}

std::vector<std::pair<std::string, std::string>> Reader::Map(std::string_view key) const {
  std::vector<std::pair<std::string, std::string>> pairs;
  const Value* member = Member(key);
  if (member == nullptr) return pairs;
  if (member->type != Value::Type::kObject) Fault(key, "must be an object of strings");
  for (const auto& [name, value] : member->object) {
    if (value.type != Value::Type::kString) Fault(key, "must be an object of strings");
    pairs.emplace_back(name, value.string);
  }
  return pairs;
}

}  // namespace starling::json
