// Records of PAX headers by themselves, numbers of header fields, and maps of sparse files.
#include "../../unpack/pax.h"

#include "../../unpack/sparse.h"
#include "../../unpack/tar_fields.h"
#include "input.h"
#include "memory_source.h"

namespace starling::fuzz {
namespace {

void TryRecords(std::string_view text) {
  auto records = ParsePaxRecords(text);
  if (!records.ok()) return;
  TarEntry entry;
  if (!ApplyPaxRecords(*records, entry).ok()) return;
  Require(entry.mtime_ns >= 0 && entry.mtime_ns < 1'000'000'000, "a time's fraction is one");
  if (CheckExtents(entry).ok()) Require(entry.extents.size() <= (1 << 18), "a map has a bound");
}

// A map that stands before the content, or that of an old header in its first block.
void TryMap(bool old, std::string_view bytes) {
  LayerStream stream(std::make_unique<MemorySource>(old ? bytes.substr(bytes.size() < 512 ? bytes.size() : 512) : bytes), 1 << 20);
  TarEntry entry;
  entry.size = bytes.size();
  Status read;
  if (old) {
    char block[512] = {};
    std::memcpy(block, bytes.data(), bytes.size() < 512 ? bytes.size() : 512);
    read = ReadOldSparseMap(block, stream, entry);
  } else {
    entry.real_size = 1 << 30;
    read = ReadSparseMapInContent(stream, entry);
    if (read.ok()) Require(entry.size <= bytes.size(), "a map takes from the content, never adds");
  }
  if (!read.ok() || !CheckExtents(entry).ok()) return;
  uint64_t end = 0;
  for (const Extent& extent : entry.extents) {
    Require(extent.offset >= end && extent.length <= entry.real_size, "pieces are in order and within the file");
    end = extent.offset + extent.length;
    Require(end <= entry.real_size, "pieces end within the file");
  }
}

}  // namespace
}  // namespace starling::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace starling;
  fuzz::Input input(data, size);
  switch (input.Choice(4)) {
    case 0: fuzz::TryRecords(input.Rest()); break;
    case 1: fuzz::TryMap(false, input.Rest()); break;
    case 2: fuzz::TryMap(true, input.Rest()); break;
    default: {
      // Exactly as long as it is, so that a read beyond it is seen.
      std::string field(input.Rest());
      if (!field.empty()) (void)TarNumber(field.data(), {0, field.size() < 12 ? field.size() : 12});
    }
  }
  return 0;
}
