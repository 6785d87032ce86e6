// Reads and decompresses a layer on a thread of its own, a few chunks ahead of who writes its files.
//
//   thread:  wait for Begin → choose the decompression → fill chunk after chunk → last one: end or error
//   caller:  Read takes the chunks in order
//
// The thread is never joined: the process ends with it. It is started before the process locks itself in, and touches no
// foreign byte before Begin.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "layer_stream.h"

namespace starling {

class ReadAhead : public ByteSource {
 public:
  explicit ReadAhead(std::shared_ptr<RawInput> input);
  ReadAhead(const ReadAhead&) = delete;
  // Waits until the thread stands at its first wait.
  void WaitStarted();
  void Begin();
  Result<size_t> Read(void* out, size_t length) override;

 private:
  struct Chunk {
    std::vector<char> bytes;
    size_t filled = 0;
  };
  void Run();
  Status Fill(Chunk& chunk, ByteSource& source);

  std::shared_ptr<RawInput> input_;
  std::mutex mu_;
  std::condition_variable changed_;
  // Guarded by mu_. Chunks [taken_, filled_) are the caller's, the others the thread's.
  bool started_ = false;
  bool begun_ = false;
  bool ended_ = false;
  size_t filled_ = 0;
  size_t taken_ = 0;
  Status outcome_;
  // A chunk belongs to whom the counters say.
  std::vector<Chunk> chunks_;
  size_t offset_ = 0;
  std::thread thread_;
};

}  // namespace starling
