// One object of a tar archive, as its headers describe it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace starling {

// A stored piece of a sparse file; what lies between two is a hole.
struct Extent {
  uint64_t offset = 0;
  uint64_t length = 0;
};

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
  // Bytes that the archive holds of it.
  uint64_t size = 0;
  uint32_t device_major = 0;
  uint32_t device_minor = 0;
  // Without their "SCHILY.xattr." prefix. Values are any bytes.
  std::vector<std::pair<std::string, std::string>> xattrs;

  // Sparse files only. Invariant after CheckExtents: in order, apart, within real_size, together `size` bytes long.
  bool sparse = false;
  uint64_t real_size = 0;
  std::vector<Extent> extents;
  // PAX sparse format 1.0: the map stands before the content.
  bool map_in_content = false;
};

}  // namespace starling
