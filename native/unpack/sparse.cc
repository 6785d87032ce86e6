#include "sparse.h"

#include "tar_fields.h"

namespace starling {
namespace {

constexpr size_t kBlock = 512;
// More than any real file has; bounds what a map can make us hold to 4 MiB.
constexpr size_t kExtentsMax = 1 << 18;
constexpr TarField kRealSize = {483, 12};
constexpr size_t kFirstMap = 386;
constexpr size_t kFirstExtents = 4;
constexpr size_t kFirstMore = 482;
constexpr size_t kNextExtents = 21;
constexpr size_t kNextMore = 504;

Error Damaged() { return Error{"tar: damaged map of a sparse file"}; }

// `count` pairs of 12-byte numbers; an empty one ends the map.
Status TakeExtents(const char* pairs, size_t count, TarEntry& entry) {
  for (size_t i = 0; i < count; i++) {
    const char* pair = pairs + i * 24;
    if (pair[0] == '\0') return {};
    auto offset = TarNumber(pair, {0, 12});
    auto length = TarNumber(pair, {12, 12});
    if (!offset || *offset < 0 || !length || *length < 0 || entry.extents.size() == kExtentsMax) return Damaged();
    entry.extents.push_back({static_cast<uint64_t>(*offset), static_cast<uint64_t>(*length)});
  }
  return {};
}

// "offset,length,offset,length…"
bool ParseMap(std::string_view text, TarEntry& entry) {
  entry.extents.clear();
  while (!text.empty()) {
    Extent extent;
    for (uint64_t* number : {&extent.offset, &extent.length}) {
      size_t comma = text.find(',');
      if (!ParseDecimal(text.substr(0, comma), *number)) return false;
      text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
    }
    if (entry.extents.size() == kExtentsMax) return false;
    entry.extents.push_back(extent);
  }
  return true;
}

// Decimal numbers, each ended by a newline, block by block.
class MapReader {
 public:
  MapReader(LayerStream& stream, uint64_t limit) : stream_(stream), left_(limit) {}

  Result<uint64_t> Next() {
    std::string digits;
    for (;;) {
      if (at_ == kBlock) {
        if (left_ < kBlock) return Damaged();
        STARLING_ASSIGN(more, stream_.ReadExactly(block_, kBlock));
        if (!more) return Error{"tar: the archive is cut short"};
        left_ -= kBlock;
        at_ = 0;
      }
      char c = block_[at_++];
      if (c == '\n') break;
      digits.push_back(c);
      if (digits.size() > 20) return Damaged();
    }
    uint64_t number = 0;
    if (!ParseDecimal(digits, number)) return Damaged();
    return number;
  }

  uint64_t left() const { return left_; }

 private:
  LayerStream& stream_;
  uint64_t left_;
  char block_[kBlock];
  size_t at_ = kBlock;
};

}  // namespace

bool ApplySparseRecord(std::string_view key, const std::string& value, TarEntry& entry) {
  entry.sparse = true;
  uint64_t number = 0;
  if (key == "name") {
    entry.path = value;
    return true;
  }
  if (key == "map") return ParseMap(value, entry);
  if (!ParseDecimal(value, number)) return false;
  if (key == "size" || key == "realsize") {
    entry.real_size = number;
  } else if (key == "offset") {
    if (entry.extents.size() == kExtentsMax) return false;
    entry.extents.push_back({number, 0});
  } else if (key == "numbytes") {
    if (entry.extents.empty()) return false;
    entry.extents.back().length = number;
  } else if (key == "major") {
    if (number > 1) return false;
    entry.map_in_content = number == 1;
  }
  return true;
}

Status ReadOldSparseMap(const char* block, LayerStream& stream, TarEntry& entry) {
  auto real_size = TarNumber(block, kRealSize);
  if (!real_size || *real_size < 0) return Damaged();
  entry.sparse = true;
  entry.real_size = static_cast<uint64_t>(*real_size);
  STARLING_TRY(TakeExtents(block + kFirstMap, kFirstExtents, entry));
  bool more = block[kFirstMore] != '\0';
  while (more) {
    char next[kBlock];
    STARLING_ASSIGN(read, stream.ReadExactly(next, kBlock));
    if (!read) return Error{"tar: the archive is cut short"};
    STARLING_TRY(TakeExtents(next, kNextExtents, entry));
    more = next[kNextMore] != '\0';
  }
  return {};
}

Status ReadSparseMapInContent(LayerStream& stream, TarEntry& entry) {
  MapReader map(stream, entry.size);
  STARLING_ASSIGN(count, map.Next());
  if (count > kExtentsMax) return Damaged();
  entry.extents.clear();
  for (uint64_t i = 0; i < count; i++) {
    STARLING_ASSIGN(offset, map.Next());
    STARLING_ASSIGN(length, map.Next());
    entry.extents.push_back({offset, length});
  }
  entry.size = map.left();
  return {};
}

Status CheckExtents(const TarEntry& entry) {
  uint64_t end = 0;
  uint64_t stored = 0;
  for (const Extent& extent : entry.extents) {
    if (extent.offset < end || extent.length > entry.real_size || extent.offset > entry.real_size - extent.length) {
      return Damaged();
    }
    end = extent.offset + extent.length;
    stored += extent.length;
  }
  if (stored != entry.size) return Damaged();
  return {};
}

}  // namespace starling
