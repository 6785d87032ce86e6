// A layer's bytes from memory, in pieces.
#pragma once

#include <cstring>
#include <string_view>

#include "../../unpack/layer_stream.h"

namespace starling::fuzz {

class MemorySource : public ByteSource {
 public:
  explicit MemorySource(std::string_view bytes) : rest_(bytes) {}

  // At most 700 bytes at a time, so that no boundary is a block's.
  Result<size_t> Read(void* out, size_t length) override {
    size_t part = rest_.substr(0, 700).size() < length ? rest_.substr(0, 700).size() : length;
    std::memcpy(out, rest_.data(), part);
    rest_.remove_prefix(part);
    return part;
  }

 private:
  std::string_view rest_;
};

}  // namespace starling::fuzz
