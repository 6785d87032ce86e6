// A layer's bytes: read from a file or pipe, decompressed by what its first bytes say (gzip, zstd, or none), hashed on
// the way: as they came (the blob's digest) and uncompressed (the layer's diff id).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "../base/result.h"
#include "sha256.h"

namespace starling {

// The blob as it comes. Borrows its descriptors.
class RawInput {
 public:
  // `kept`, if not -1, is a file with the blob's beginning: it is read first, then what `fd` gives is appended to it. `size`
  // bounds the blob: the end is there once as much was read, and a longer one is an error.
  explicit RawInput(int fd, int kept = -1, uint64_t size = UINT64_MAX);
  // The next bytes, empty at the end. Valid until the next call.
  Result<std::string_view> Next();
  // What Next will give.
  Result<std::string_view> Peek();
  uint64_t bytes() const { return bytes_; }
  // 64 hexadecimal digits over all that was read. Call once.
  std::string FinishHash() { return hash_.FinishHex(); }

 private:
  Result<size_t> Fill();

  int fd_;
  int kept_;
  uint64_t size_;
  bool in_kept_;
  std::vector<char> buffer_;
  std::string_view peeked_;
  Sha256 hash_;
  uint64_t bytes_ = 0;
};

// One way of decompression.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // At most `length` bytes; 0 at the end. Truncated and damaged streams are errors.
  virtual Result<size_t> Read(void* out, size_t length) = 0;
};

// Chooses by the first bytes.
Result<std::unique_ptr<ByteSource>> OpenLayer(const std::shared_ptr<RawInput>& input);

class LayerStream {
 public:
  // `max_bytes` bounds the uncompressed size, against bombs.
  LayerStream(std::unique_ptr<ByteSource> source, uint64_t max_bytes) : source_(std::move(source)), left_(max_bytes) {}

  // Exactly `length` bytes; false at the end of the stream when nothing was read. A partial read is an error.
  Result<bool> ReadExactly(void* out, size_t length);
  // Some bytes, at most `length`; 0 at the end.
  Result<size_t> ReadSome(void* out, size_t length);
  Status Skip(uint64_t length);
  // Reads what is left, then: 64 hexadecimal digits. Call once.
  Result<std::string> FinishHash();

 private:
  std::unique_ptr<ByteSource> source_;
  uint64_t left_;
  Sha256 hash_;
};

}  // namespace starling
