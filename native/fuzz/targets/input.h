// What every target needs: the input in parts, and promises that must hold for any input.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace starling::fuzz {

// Bytes that somebody else chose.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}

  // A choice among `ways`, from the first byte that is left; 0 at the end.
  unsigned Choice(unsigned ways) {
    if (rest_.empty()) return 0;
    unsigned byte = static_cast<unsigned char>(rest_.front());
    rest_.remove_prefix(1);
    return byte % ways;
  }

  // Up to the next zero byte, which is dropped; the rest when there is none.
  std::string_view Part() {
    size_t end = rest_.find('\0');
    std::string_view part = rest_.substr(0, end);
    rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
    return part;
  }

  std::string_view Rest() const { return rest_; }

 private:
  std::string_view rest_;
};

// A promise of the code under test. Broken: the fuzzer keeps the input.
inline void Require(bool holds, const char* promise) {
  if (holds) return;
  fprintf(stderr, "broken promise: %s\n", promise);
  abort();
}

}  // namespace starling::fuzz
