#include "read_ahead.h"

#include <cstring>

namespace starling {
namespace {

constexpr size_t kChunks = 4;
constexpr size_t kChunkBytes = 256 << 10;

}  // namespace

ReadAhead::ReadAhead(std::shared_ptr<RawInput> input) : input_(std::move(input)), chunks_(kChunks) {
  for (Chunk& chunk : chunks_) chunk.bytes.resize(kChunkBytes);
  thread_ = std::thread([this] { Run(); });
  thread_.detach();
}

void ReadAhead::WaitStarted() {
  std::unique_lock lock(mu_);
  changed_.wait(lock, [this] { return started_; });
}

void ReadAhead::Begin() {
  std::lock_guard lock(mu_);
  begun_ = true;
  changed_.notify_all();
}

void ReadAhead::Run() {
  std::unique_lock lock(mu_);
  started_ = true;
  changed_.notify_all();
  changed_.wait(lock, [this] { return begun_; });
  lock.unlock();
  auto source = OpenLayer(input_);
  lock.lock();
  if (!source.ok()) outcome_ = source.error();
  while (outcome_.ok() && !ended_) {
    changed_.wait(lock, [this] { return filled_ - taken_ < kChunks; });
    Chunk& chunk = chunks_[filled_ % kChunks];
    lock.unlock();
    Status filled = Fill(chunk, **source);
    lock.lock();
    if (!filled.ok()) outcome_ = filled;
    if (chunk.filled < kChunkBytes) ended_ = true;
    filled_++;
    changed_.notify_all();
  }
  ended_ = true;
  changed_.notify_all();
  // Ending a thread takes system calls that the filter refuses: it rests here until the process ends.
  for (;;) changed_.wait(lock);
}

Status ReadAhead::Fill(Chunk& chunk, ByteSource& source) {
  chunk.filled = 0;
  while (chunk.filled < kChunkBytes) {
    STARLING_ASSIGN(count, source.Read(chunk.bytes.data() + chunk.filled, kChunkBytes - chunk.filled));
    if (count == 0) return {};
    chunk.filled += count;
  }
  return {};
}

Result<size_t> ReadAhead::Read(void* out, size_t length) {
  for (;;) {
    {
      std::unique_lock lock(mu_);
      changed_.wait(lock, [this] { return taken_ < filled_ || ended_; });
      if (taken_ == filled_) {
        if (!outcome_.ok()) return outcome_.error();
        return size_t{0};
      }
    }
    Chunk& chunk = chunks_[taken_ % kChunks];
    size_t part = chunk.filled - offset_ < length ? chunk.filled - offset_ : length;
    std::memcpy(out, chunk.bytes.data() + offset_, part);
    offset_ += part;
    if (offset_ == chunk.filled) {
      std::lock_guard lock(mu_);
      offset_ = 0;
      taken_++;
      changed_.notify_all();
    }
    if (part > 0) return part;
  }
}

}  // namespace starling
