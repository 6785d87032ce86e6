#include "tar_fields.h"

namespace starling {

std::optional<int64_t> TarNumber(const char* block, TarField field) {
  auto bytes = reinterpret_cast<const unsigned char*>(block + field.offset);
  if ((bytes[0] & 0x80) != 0) {
    bool negative = (bytes[0] & 0x40) != 0;
    uint64_t value = negative ? ~uint64_t{0} : 0;
    for (size_t i = 0; i < field.length; i++) {
      uint64_t byte = i == 0 ? (negative ? bytes[i] | 0x80U : bytes[i] & 0x7fU) : bytes[i];
      if (field.length - i > 8 && byte != (negative ? 0xffU : 0U)) return std::nullopt;
      value = value << 8 | byte;
    }
    return static_cast<int64_t>(value);
  }
  int64_t value = 0;
  bool digits = false;
  for (char c : TarText(block, field)) {
    if (c == ' ') {
      if (digits) break;
      continue;
    }
    if (c < '0' || c > '7' || value > (INT64_MAX >> 3)) return std::nullopt;
    value = value * 8 + (c - '0');
    digits = true;
  }
  return value;
}

}  // namespace starling
