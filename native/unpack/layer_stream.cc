#include "layer_stream.h"

#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cstring>
#include <utility>

#include "../sys/fs.h"

namespace starling {
namespace {

constexpr size_t kChunk = 128 << 10;

class PlainSource : public ByteSource {
 public:
  explicit PlainSource(std::shared_ptr<RawInput> input) : input_(std::move(input)) {}
  Result<size_t> Read(void* out, size_t length) override {
    if (left_.empty()) {
      STARLING_ASSIGN(next, input_->Next());
      left_ = next;
    }
    size_t part = left_.size() < length ? left_.size() : length;
    std::memcpy(out, left_.data(), part);
    left_.remove_prefix(part);
    return part;
  }

 private:
  std::shared_ptr<RawInput> input_;
  std::string_view left_;
};

class GzipSource : public ByteSource {
 public:
  explicit GzipSource(std::shared_ptr<RawInput> input) : input_(std::move(input)) { ready_ = inflateInit2(&stream_, 16 + MAX_WBITS) == Z_OK; }
  ~GzipSource() override { inflateEnd(&stream_); }

  Result<size_t> Read(void* out, size_t length) override {
    if (!ready_) return Error{"gzip: cannot start"};
    stream_.next_out = static_cast<Bytef*>(out);
    stream_.avail_out = static_cast<uInt>(length);
    while (stream_.avail_out == length) {
      if (stream_.avail_in == 0) {
        STARLING_ASSIGN(next, input_->Next());
        if (next.empty()) {
          if (between_members_) return size_t{0};
          return Error{"gzip: the layer is cut short"};
        }
        stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(next.data()));
        stream_.avail_in = static_cast<uInt>(next.size());
      }
      between_members_ = false;
      int outcome = inflate(&stream_, Z_NO_FLUSH);
      if (outcome == Z_STREAM_END) {
        // A gzip file may be several streams one after the other (RFC 1952 §2.2).
        between_members_ = true;
        inflateReset(&stream_);
      } else if (outcome != Z_OK && outcome != Z_BUF_ERROR) {
        return Error{std::string("gzip: damaged layer: ") + (stream_.msg != nullptr ? stream_.msg : "error")};
      }
    }
    return length - stream_.avail_out;
  }

 private:
  std::shared_ptr<RawInput> input_;
  z_stream stream_ = {};
  bool ready_ = false;
  bool between_members_ = false;
};

class ZstdSource : public ByteSource {
 public:
  explicit ZstdSource(std::shared_ptr<RawInput> input) : input_(std::move(input)), context_(ZSTD_createDCtx()) {
    // Bounds the memory that a frame may ask for: 128 MiB, what zstd's own tool takes.
    ZSTD_DCtx_setParameter(context_, ZSTD_d_windowLogMax, 27);
  }
  ~ZstdSource() override { ZSTD_freeDCtx(context_); }

  Result<size_t> Read(void* out, size_t length) override {
    ZSTD_outBuffer output = {out, length, 0};
    while (output.pos == 0) {
      if (in_.pos == in_.size) {
        STARLING_ASSIGN(next, input_->Next());
        if (next.empty()) {
          if (pending_ == 0) return size_t{0};
          return Error{"zstd: the layer is cut short"};
        }
        in_ = {next.data(), next.size(), 0};
      }
      pending_ = ZSTD_decompressStream(context_, &output, &in_);
      if (ZSTD_isError(pending_) != 0) return Error{std::string("zstd: damaged layer: ") + ZSTD_getErrorName(pending_)};
    }
    return output.pos;
  }

 private:
  std::shared_ptr<RawInput> input_;
  ZSTD_DCtx* context_;
  ZSTD_inBuffer in_ = {nullptr, 0, 0};
  size_t pending_ = 0;
};

}  // namespace

RawInput::RawInput(int fd, int kept, uint64_t size)
    : fd_(fd), kept_(kept), size_(size), in_kept_(kept >= 0), buffer_(kChunk) {}

// Whole chunks also from a pipe, which gives little at a time: the first chunk must hold the magic number.
Result<size_t> RawInput::Fill() {
  size_t filled = 0;
  while (filled < buffer_.size() && bytes_ + filled < size_) {
    ssize_t count = read(in_kept_ ? kept_ : fd_, buffer_.data() + filled, buffer_.size() - filled);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Error::Errno("read", "layer");
    if (count == 0 && !in_kept_) break;
    if (count == 0) {
      in_kept_ = false;
      continue;
    }
    auto part = std::string_view(buffer_.data() + filled, static_cast<size_t>(count));
    filled += part.size();
    if (bytes_ + filled > size_) return Error{"layer: larger than its manifest says", EFBIG};
    if (!in_kept_ && kept_ >= 0) STARLING_TRY(fs::WriteAll(kept_, part, "blob"));
  }
  return filled;
}

Result<std::string_view> RawInput::Next() {
  if (!peeked_.empty()) return std::exchange(peeked_, {});
  STARLING_ASSIGN(filled, Fill());
  hash_.Update(buffer_.data(), filled);
  bytes_ += filled;
  return std::string_view(buffer_.data(), filled);
}

Result<std::string_view> RawInput::Peek() {
  STARLING_ASSIGN(next, Next());
  peeked_ = next;
  return next;
}

Result<std::unique_ptr<ByteSource>> OpenLayer(const std::shared_ptr<RawInput>& input) {
  STARLING_ASSIGN(start, input->Peek());
  if (start.starts_with("\x1f\x8b")) return std::unique_ptr<ByteSource>(new GzipSource(input));
  // A zstd frame, or a skippable one before it (RFC 8878 §3.1).
  bool is_skippable = start.size() >= 4 && (start[0] & '\xf0') == '\x50' && start.substr(1, 3) == "\x2a\x4d\x18";
  if (is_skippable || start.starts_with("\x28\xb5\x2f\xfd")) return std::unique_ptr<ByteSource>(new ZstdSource(input));
  return std::unique_ptr<ByteSource>(new PlainSource(input));
}

Result<size_t> LayerStream::ReadSome(void* out, size_t length) {
  STARLING_ASSIGN(count, source_->Read(out, length));
  if (count > left_) return Error{"layer: larger than its limit", EFBIG};
  left_ -= count;
  hash_.Update(out, count);
  return count;
}

Result<bool> LayerStream::ReadExactly(void* out, size_t length) {
  size_t done = 0;
  while (done < length) {
    STARLING_ASSIGN(count, ReadSome(static_cast<char*>(out) + done, length - done));
    if (count == 0 && done == 0) return false;
    if (count == 0) return Error{"tar: the archive is cut short"};
    done += count;
  }
  return true;
}

Status LayerStream::Skip(uint64_t length) {
  char buffer[16 << 10];
  while (length > 0) {
    size_t part = length < sizeof buffer ? static_cast<size_t>(length) : sizeof buffer;
    STARLING_ASSIGN(more, ReadExactly(buffer, part));
    if (!more) return Error{"tar: the archive is cut short"};
    length -= part;
  }
  return {};
}

Result<std::string> LayerStream::FinishHash() {
  char buffer[64 << 10];
  for (;;) {
    STARLING_ASSIGN(count, ReadSome(buffer, sizeof buffer));
    if (count == 0) return hash_.FinishHex();
  }
}

}  // namespace starling
