#include "log_writer.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>

#include "../base/json.h"
#include "../sys/fs.h"

namespace starling {
namespace {

constexpr size_t kLineMax = 16 << 10;

// RFC 3339 with nanoseconds, UTC.
std::string Now() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  tm parts;
  gmtime_r(&now.tv_sec, &parts);
  char text[48];
  size_t length = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  snprintf(text + length, sizeof text - length, ".%09ldZ", now.tv_nsec);
  return text;
}

}  // namespace

Result<LogWriter> LogWriter::Open(const LogSpec& spec) {
  LogWriter writer;
  writer.spec_ = spec;
  STARLING_ASSIGN(sink, LogSink::Open(spec.sink));
  writer.sink_ = std::move(sink);
  if (spec.path.empty()) return writer;
  STARLING_ASSIGN(fd, fs::Open(spec.path, O_WRONLY | O_CREAT | O_APPEND, 0640));
  struct stat info;
  if (fstat(fd.get(), &info) == 0) writer.size_ = info.st_size;
  writer.fd_ = std::move(fd);
  return writer;
}

void LogWriter::Append(Stream stream, std::string_view data) {
  if (!fd_ && !sink_.open()) return;
  std::string& partial = Partial(stream);
  while (!data.empty()) {
    size_t newline = data.find('\n');
    size_t take = newline == std::string_view::npos ? data.size() : newline + 1;
    take = take < kLineMax - partial.size() ? take : kLineMax - partial.size();
    bool whole = data[take - 1] == '\n' || partial.size() + take == kLineMax;
    if (!whole) {
      partial.append(data.substr(0, take));
    } else if (partial.empty()) {
      AddLine(stream, data.substr(0, take));
    } else {
      partial.append(data.substr(0, take));
      AddLine(stream, partial);
      partial.clear();
    }
    data.remove_prefix(take);
  }
  WriteBatch();
}

void LogWriter::Finish(Stream stream) {
  std::string& partial = Partial(stream);
  if (partial.empty()) return;
  AddLine(stream, partial);
  partial.clear();
  WriteBatch();
}

void LogWriter::AddLine(Stream stream, std::string_view line) {
  sink_.Send(stream == Stream::kStderr, line.ends_with('\n') ? line.substr(0, line.size() - 1) : line);
  if (!fd_) return;
  batch_.append("{\"log\":");
  json::AppendString(batch_, line);
  batch_.append(stream == Stream::kStdout ? ",\"stream\":\"stdout\",\"time\":\"" : ",\"stream\":\"stderr\",\"time\":\"");
  batch_.append(Now()).append("\"}\n");
}

void LogWriter::WriteBatch() {
  if (batch_.empty()) return;
  auto length = static_cast<int64_t>(batch_.size());
  if (size_ > 0 && size_ + length > spec_.max_bytes) Rotate();
  if (fs::WriteAll(fd_.get(), batch_, spec_.path).ok()) {
    size_ += length;
  } else {
    dropped_writes_++;
    // Part of a line may have been written: cut it off, so that readers meet whole lines.
    if (ftruncate(fd_.get(), size_) != 0) dropped_writes_++;
  }
  batch_.clear();
}

void LogWriter::Rotate() {
  for (int64_t number = spec_.max_files - 1; number > 0; number--) {
    std::string from = number == 1 ? spec_.path : spec_.path + "." + std::to_string(number - 1);
    rename(from.c_str(), (spec_.path + "." + std::to_string(number)).c_str());
  }
  if (spec_.max_files == 1) unlink(spec_.path.c_str());
  auto fd = fs::Open(spec_.path, O_WRONLY | O_CREAT | O_APPEND, 0640);
  if (!fd.ok()) return;  // Go on in the old file: larger than asked for, but nothing lost.
  fd_ = std::move(*fd);
  size_ = 0;
}

}  // namespace starling
