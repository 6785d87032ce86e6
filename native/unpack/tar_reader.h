// Tar archives as image layers have them: POSIX ustar, PAX records, GNU long names and base-256 numbers. Sparse files
// are refused.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "../base/result.h"
#include "layer_stream.h"

namespace starling {

struct TarEntry {
  enum class Type { kFile, kHardLink, kSymlink, kCharDevice, kBlockDevice, kFolder, kFifo };
  Type type = Type::kFile;
  // As written: may be absolute, may contain "..".
  std::string path;
  std::string link;
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  int64_t mtime_s = 0;
  int64_t mtime_ns = 0;
  uint64_t size = 0;
  uint32_t device_major = 0;
  uint32_t device_minor = 0;
  // Without their "SCHILY.xattr." prefix.
  std::vector<std::pair<std::string, std::string>> xattrs;
};

class TarReader {
 public:
  explicit TarReader(LayerStream& stream) : stream_(stream) {}

  // The next entry that is a file-system object; false at the archive's end. Content not read is skipped.
  Result<bool> Next(TarEntry& entry);

  // The current entry's content, at most `length` bytes; 0 at its end.
  Result<size_t> ReadContent(void* out, size_t length);

 private:
  struct Overrides;
  Result<std::string> ReadRecord(uint64_t size);
  Status SkipContent();

  LayerStream& stream_;
  uint64_t content_left_ = 0;
  uint64_t padding_ = 0;
  std::vector<std::pair<std::string, std::string>> global_records_;
};

}  // namespace starling
