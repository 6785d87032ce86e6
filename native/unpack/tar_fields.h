// Numbers and texts of tar header blocks (POSIX.1-1988 ustar, GNU).
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

namespace starling {

struct TarField {
  size_t offset;
  size_t length;
};

// Up to the first zero byte.
inline std::string_view TarText(const char* block, TarField field) {
  const char* start = block + field.offset;
  return std::string_view(start, strnlen(start, field.length));
}

// Octal digits, or GNU's base 256 when the first bit is set. Nothing when damaged or beyond 63 bits.
std::optional<int64_t> TarNumber(const char* block, TarField field);

// The whole of `text` as a decimal number that fits T.
template <class T>
bool ParseDecimal(std::string_view text, T& out) {
  auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), out);
  return problem == std::errc() && end == text.data() + text.size();
}

}  // namespace starling
