// Archives: headers, PAX records, GNU's long names and sparse files.
#include "../../unpack/sparse.h"
#include "../../unpack/tar_reader.h"
#include "input.h"
#include "memory_source.h"
#include "tar_mutator.h"

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  return starling::fuzz::MutateTar(data, size, max_size, seed, 0);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace starling;
  LayerStream stream(std::make_unique<fuzz::MemorySource>(std::string_view(reinterpret_cast<const char*>(data), size)), 1 << 20);
  TarReader tar(stream);
  for (;;) {
    TarEntry entry;
    auto more = tar.Next(entry);
    if (!more.ok() || !*more) break;
    fuzz::Require(entry.path.find('\0') == std::string::npos, "a name has no zero byte");
    fuzz::Require(entry.uid != UINT32_MAX && entry.gid != UINT32_MAX, "an owner is no order to leave it as it is");
    fuzz::Require(entry.mtime_ns >= 0 && entry.mtime_ns < 1'000'000'000, "a time's fraction is one");
    fuzz::Require(!entry.sparse || CheckExtents(entry).ok(), "a sparse file's pieces are in order");
    uint64_t content = 0;
    char buffer[300];
    // Every other file's content is left to the reader to pass over.
    while (entry.mode % 2 == 0) {
      auto count = tar.ReadContent(buffer, sizeof buffer);
      if (!count.ok()) return 0;
      if (*count == 0) break;
      content += *count;
    }
    fuzz::Require(content == 0 || content == entry.size, "a file has as many bytes as its header says");
  }
  (void)stream.FinishHash().ok();
  return 0;
}
