// Tar archives as image layers have them: POSIX ustar, PAX records, GNU long names, base-256 numbers, sparse files.
#pragma once

#include <cstdint>
#include <string>

#include "../base/result.h"
#include "layer_stream.h"
#include "pax.h"
#include "tar_entry.h"

namespace starling {

class TarReader {
 public:
  explicit TarReader(LayerStream& stream) : stream_(stream) {}

  // The next entry that is a file-system object; false at the archive's end. Content not read is skipped.
  Result<bool> Next(TarEntry& entry);

  // The current entry's stored content, at most `length` bytes; 0 at its end.
  Result<size_t> ReadContent(void* out, size_t length);

 private:
  Result<std::string> ReadRecord(uint64_t size);
  Status SkipContent();

  LayerStream& stream_;
  uint64_t content_left_ = 0;
  uint64_t padding_ = 0;
  PaxRecords global_records_;
};

}  // namespace starling
