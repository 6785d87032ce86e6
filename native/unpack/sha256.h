// SHA-256 (FIPS 180-4), by the CPU's own instructions where it has them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace starling {

class Sha256 {
 public:
  void Update(const void* data, size_t length);
  // Ends the computation: 64 hexadecimal digits.
  std::string FinishHex();

 private:
  uint32_t state_[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  uint8_t block_[64];
  size_t filled_ = 0;
  uint64_t total_ = 0;
};

}  // namespace starling
