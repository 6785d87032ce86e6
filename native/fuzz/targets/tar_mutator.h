// Mutations of tar archives that get past the checksum: it is made right again in blocks that look like headers.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace starling::fuzz {

inline void RepairChecksum(uint8_t* block) {
  constexpr size_t kChecksum = 148;
  std::memset(block + kChecksum, ' ', 8);
  unsigned sum = 0;
  for (size_t i = 0; i < 512; i++) sum += block[i];
  char digits[8];
  snprintf(digits, sizeof digits, "%06o", sum);
  std::memcpy(block + kChecksum, digits, 7);
}

// Archives begin at `start`.
inline size_t MutateTar(uint8_t* data, size_t size, size_t max_size, unsigned seed, size_t start) {
  size = LLVMFuzzerMutate(data, size, max_size);
  // Wrong checksums are worth trying, too.
  if (seed % 16 == 0) return size;
  for (size_t at = start; at + 512 <= size; at += 512) {
    if (std::memcmp(data + at + 257, "ustar", 5) == 0) RepairChecksum(data + at);
  }
  return size;
}

}  // namespace starling::fuzz
