#include "json.h"

#include <cmath>
#include <cstdlib>

#include "utf8.h"

namespace starling::json {
namespace {

constexpr int kMaxDepth = 32;

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<Value> Whole() {
    Value value;
    if (!ReadValue(value, 0)) return Fault();
    SkipSpace();
    if (at_ != text_.size()) {
      problem_ = "unexpected text after the value";
      return Fault();
    }
    return value;
  }

 private:
  Error Fault() const { return Error{"JSON: " + std::string(problem_) + " at byte " + std::to_string(at_)}; }

  bool Fail(const char* problem) {
    problem_ = problem;
    return false;
  }

  void SkipSpace() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) at_++;
  }

  bool Eat(char wanted) {
    SkipSpace();
    if (at_ >= text_.size() || text_[at_] != wanted) return false;
    at_++;
    return true;
  }

  bool Word(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return Fail("unknown word");
    at_ += word.size();
    return true;
  }

  bool ReadValue(Value& out, int depth) {
    if (depth > kMaxDepth) return Fail("nested too deeply");
    SkipSpace();
    if (at_ >= text_.size()) return Fail("unexpected end");
    switch (text_[at_]) {
      case '{': return ReadObject(out, depth);
      case '[': return ReadArray(out, depth);
      case '"': out.type = Value::Type::kString; return ReadString(out.string);
      case 't': out.type = Value::Type::kBool; out.boolean = true; return Word("true");
      case 'f': out.type = Value::Type::kBool; return Word("false");
      case 'n': return Word("null");
      default: return ReadNumber(out);
    }
  }

  bool ReadObject(Value& out, int depth) {
    out.type = Value::Type::kObject;
    at_++;
    if (Eat('}')) return true;
    for (;;) {
      SkipSpace();
      std::string key;
      if (at_ >= text_.size() || text_[at_] != '"') return Fail("expected a member name");
      if (!ReadString(key)) return false;
      if (!Eat(':')) return Fail("expected `:`");
      Value member;
      if (!ReadValue(member, depth + 1)) return false;
      out.object.push_back(Member{std::move(key), std::move(member)});
      if (Eat(',')) continue;
      if (Eat('}')) return true;
      return Fail("expected `,` or `}`");
    }
  }

  bool ReadArray(Value& out, int depth) {
    out.type = Value::Type::kArray;
    at_++;
    if (Eat(']')) return true;
    for (;;) {
      Value element;
      if (!ReadValue(element, depth + 1)) return false;
      out.array.push_back(std::move(element));
      if (Eat(',')) continue;
      if (Eat(']')) return true;
      return Fail("expected `,` or `]`");
    }
  }

  bool ReadHex4(uint32_t& out) {
    if (text_.size() - at_ < 4) return Fail("short \\u escape");
    out = 0;
    for (int digit = 0; digit < 4; digit++) {
      char c = text_[at_++];
      uint32_t value = c >= '0' && c <= '9'   ? static_cast<uint32_t>(c - '0')
                       : c >= 'a' && c <= 'f' ? static_cast<uint32_t>(c - 'a' + 10)
                       : c >= 'A' && c <= 'F' ? static_cast<uint32_t>(c - 'A' + 10)
                                              : 16U;
      if (value == 16) return Fail("bad \\u escape");
      out = out * 16 + value;
    }
    return true;
  }

  bool ReadEscape(std::string& out) {
    if (at_ >= text_.size()) return Fail("unexpected end");
    char c = text_[at_++];
    switch (c) {
      case '"': case '\\': case '/': out.push_back(c); return true;
      case 'b': out.push_back('\b'); return true;
      case 'f': out.push_back('\f'); return true;
      case 'n': out.push_back('\n'); return true;
      case 'r': out.push_back('\r'); return true;
      case 't': out.push_back('\t'); return true;
      case 'u': break;
      default: return Fail("unknown escape");
    }
    uint32_t code = 0;
    if (!ReadHex4(code)) return false;
    if (code >= 0xd800 && code < 0xdc00) {
      uint32_t low = 0;
      if (text_.substr(at_, 2) != "\\u") return Fail("lone surrogate");
      at_ += 2;
      if (!ReadHex4(low)) return false;
      if (low < 0xdc00 || low > 0xdfff) return Fail("lone surrogate");
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code >= 0xdc00 && code <= 0xdfff) {
      return Fail("lone surrogate");
    }
    utf8::Append(out, code);
    return true;
  }

  bool ReadString(std::string& out) {
    at_++;
    for (;;) {
      if (at_ >= text_.size()) return Fail("string without end");
      char c = text_[at_];
      if (c == '"') {
        at_++;
        return true;
      }
      if (static_cast<unsigned char>(c) < 0x20) return Fail("control character in a string");
      at_++;
      if (c == '\\') {
        if (!ReadEscape(out)) return false;
      } else {
        out.push_back(c);
      }
    }
  }

  // int [frac] [exp] of RFC 8259 §6: no plus before it, no leading zeros.
  static bool IsNumber(std::string_view text) {
    auto digits = [&] {
      size_t count = text.find_first_not_of("0123456789");
      if (count == std::string_view::npos) count = text.size();
      text.remove_prefix(count);
      return count;
    };
    if (text.starts_with('-')) text.remove_prefix(1);
    bool starts_with_zero = text.starts_with('0');
    size_t whole = digits();
    if (whole == 0 || (starts_with_zero && whole > 1)) return false;
    if (text.starts_with('.')) {
      text.remove_prefix(1);
      if (digits() == 0) return false;
    }
    if (text.starts_with('e') || text.starts_with('E')) {
      text.remove_prefix(1);
      if (text.starts_with('+') || text.starts_with('-')) text.remove_prefix(1);
      if (digits() == 0) return false;
    }
    return text.empty();
  }

  bool ReadNumber(Value& out) {
    size_t start = at_;
    while (at_ < text_.size() && std::string_view("+-.eE0123456789").find(text_[at_]) != std::string_view::npos) at_++;
    std::string digits(text_.substr(start, at_ - start));
    if (digits.empty()) return Fail("expected a value");
    if (!IsNumber(digits)) return Fail("bad number");
    if (digits.find_first_of(".eE") == std::string::npos) {
      errno = 0;
      out.type = Value::Type::kInt;
      out.integer = std::strtoll(digits.c_str(), nullptr, 10);
      if (errno != 0 && digits[0] != '-') {
        errno = 0;
        out.type = Value::Type::kUint;
        out.integer = static_cast<int64_t>(std::strtoull(digits.c_str(), nullptr, 10));
      }
      if (errno != 0) return Fail("integer out of range");
    } else {
      out.type = Value::Type::kDouble;
      out.number = std::strtod(digits.c_str(), nullptr);
      if (!std::isfinite(out.number)) return Fail("number out of range");
    }
    return true;
  }

  std::string_view text_;
  size_t at_ = 0;
  const char* problem_ = "";
};

}  // namespace

const Value* Value::Find(std::string_view key) const {
  const Value* found = nullptr;
  for (const auto& [name, member] : object) {
    if (name == key) found = &member;
  }
  return found;
}

Result<Value> Parse(std::string_view text) { return Parser(text).Whole(); }

void AppendString(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  out.push_back('"');
  for (size_t at = 0; at < text.size();) {
    auto byte = static_cast<unsigned char>(text[at]);
    if (byte >= 0x80) {
      size_t length = utf8::SequenceLength(text.substr(at));
      if (length == 0) {
        out.append("\xef\xbf\xbd");
        at++;
      } else {
        out.append(text.substr(at, length));
        at += length;
      }
      continue;
    }
    at++;
    switch (byte) {
      case '"': out.append("\\\""); break;
      case '\\': out.append("\\\\"); break;
      case '\n': out.append("\\n"); break;
      case '\r': out.append("\\r"); break;
      case '\t': out.append("\\t"); break;
      default:
        if (byte < 0x20 || byte == 0x7f) {
          out.append("\\u00");
          out.push_back(kHex[byte >> 4]);
          out.push_back(kHex[byte & 15]);
        } else {
          out.push_back(static_cast<char>(byte));
        }
    }
  }
  out.push_back('"');
}

void Object::Key(std::string_view key) {
  if (text_.size() > 1) text_.push_back(',');
  AppendString(text_, key);
  text_.push_back(':');
}

Object& Object::String(std::string_view key, std::string_view value) {
  Key(key);
  AppendString(text_, value);
  return *this;
}

Object& Object::Int(std::string_view key, int64_t value) {
  Key(key);
  text_.append(std::to_string(value));
  return *this;
}

Object& Object::Bool(std::string_view key, bool value) { return Raw(key, value ? "true" : "false"); }

Object& Object::Raw(std::string_view key, std::string_view value) {
  Key(key);
  text_.append(value);
  return *this;
}

}  // namespace starling::json
