// The container's output as Docker's json-file log: one {"log","stream","time"} object a line, split at newlines and at
// 16 KiB. Rotated by size: `path` is current, `path.1` the one before, up to `path.<max_files - 1>`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "../base/result.h"
#include "../runtime/spec.h"
#include "../sys/unique_fd.h"
#include "log_sink.h"

namespace starling {

enum class Stream { kStdout, kStderr };

class LogWriter {
 public:
  // Without a path and a sink a writer that throws everything away.
  static Result<LogWriter> Open(const LogSpec& spec);

  // Takes what was just read. Whole lines are written in one go, the rest waits for its newline. A write that fails
  // (disk full) loses its lines: the container must not stop for its log. They are counted.
  void Append(Stream stream, std::string_view data);

  // Writes what waits for a newline: the stream has ended.
  void Finish(Stream stream);

  // Both streams have ended.
  void Close() { sink_.Finish(); }

  int64_t dropped_writes() const { return dropped_writes_ + sink_.dropped(); }

 private:
  std::string& Partial(Stream stream) { return partial_[stream == Stream::kStdout ? 0 : 1]; }
  void AddLine(Stream stream, std::string_view line);
  void WriteBatch();
  void Rotate();

  LogSpec spec_;
  LogSink sink_;
  UniqueFd fd_;
  int64_t size_ = 0;
  int64_t dropped_writes_ = 0;
  std::string partial_[2];
  std::string batch_;
};

}  // namespace starling
