#include "tar_reader.h"

#include <cstring>
#include <optional>

#include "sparse.h"
#include "tar_fields.h"

namespace starling {
namespace {

constexpr size_t kBlock = 512;
// More than any real name or set of attributes; bounds what a header can make us hold.
constexpr uint64_t kRecordMax = 1 << 20;

// Offsets and lengths of POSIX.1-1988 ustar.
constexpr TarField kName = {0, 100}, kMode = {100, 8}, kUid = {108, 8}, kGid = {116, 8}, kSize = {124, 12}, kMtime = {136, 12},
                kChecksum = {148, 8}, kLink = {157, 100}, kMajor = {329, 8}, kMinor = {337, 8}, kPrefix = {345, 155};
constexpr size_t kType = 156;
constexpr size_t kMagic = 257;

bool ChecksumHolds(const char* block) {
  int64_t sum = 0;
  for (size_t i = 0; i < kBlock; i++) {
    bool own = i >= kChecksum.offset && i < kChecksum.offset + kChecksum.length;
    sum += own ? ' ' : static_cast<unsigned char>(block[i]);
  }
  return TarNumber(block, kChecksum) == sum;
}

bool AllZero(const char* block) {
  for (size_t i = 0; i < kBlock; i++) {
    if (block[i] != 0) return false;
  }
  return true;
}

std::optional<TarEntry::Type> TypeOf(char flag) {
  switch (flag) {
    case '0': case '\0': case '7': case 'S': return TarEntry::Type::kFile;
    case '1': return TarEntry::Type::kHardLink;
    case '2': return TarEntry::Type::kSymlink;
    case '3': return TarEntry::Type::kCharDevice;
    case '4': return TarEntry::Type::kBlockDevice;
    case '5': return TarEntry::Type::kFolder;
    case '6': return TarEntry::Type::kFifo;
    default: return std::nullopt;
  }
}

// -1 would tell chown to leave the owner as it is.
bool FitsId(int64_t number) { return number >= 0 && number < UINT32_MAX; }

Status ReadHeader(const char* block, TarEntry& entry) {
  auto size = TarNumber(block, kSize);
  auto mode = TarNumber(block, kMode);
  auto uid = TarNumber(block, kUid);
  auto gid = TarNumber(block, kGid);
  auto mtime = TarNumber(block, kMtime);
  auto major = TarNumber(block, kMajor).value_or(0);
  auto minor = TarNumber(block, kMinor).value_or(0);
  if (!size || *size < 0 || !mode || !uid || !FitsId(*uid) || !gid || !FitsId(*gid) || !mtime || !FitsId(major) ||
      !FitsId(minor)) {
    return Error{"tar: damaged number in a header"};
  }
  entry = TarEntry{};
  entry.size = static_cast<uint64_t>(*size);
  entry.mode = static_cast<uint32_t>(*mode) & 07777U;
  entry.uid = static_cast<uint32_t>(*uid);
  entry.gid = static_cast<uint32_t>(*gid);
  entry.mtime_s = *mtime;
  entry.path = TarText(block, kName);
  entry.link = TarText(block, kLink);
  // GNU's magic is "ustar  ": there the prefix field holds other things.
  if (std::memcmp(block + kMagic, "ustar\0", 6) == 0 && block[kPrefix.offset] != '\0') {
    entry.path = std::string(TarText(block, kPrefix)) + "/" + entry.path;
  }
  entry.device_major = static_cast<uint32_t>(major);
  entry.device_minor = static_cast<uint32_t>(minor);
  return {};
}

}  // namespace

Status TarReader::SkipContent() {
  STARLING_TRY(stream_.Skip(content_left_ + padding_));
  content_left_ = 0;
  padding_ = 0;
  return {};
}

Result<std::string> TarReader::ReadRecord(uint64_t size) {
  if (size > kRecordMax) return Error{"tar: header record larger than 1 MiB", EFBIG};
  std::string text(static_cast<size_t>(size), '\0');
  if (size > 0) {
    STARLING_ASSIGN(more, stream_.ReadExactly(text.data(), text.size()));
    if (!more) return Error{"tar: the archive is cut short"};
  }
  STARLING_TRY(stream_.Skip((kBlock - size % kBlock) % kBlock));
  return text;
}

Result<bool> TarReader::Next(TarEntry& entry) {
  STARLING_TRY(SkipContent());
  std::optional<std::string> long_name;
  std::optional<std::string> long_link;
  PaxRecords records;
  for (;;) {
    char block[kBlock];
    STARLING_ASSIGN(more, stream_.ReadExactly(block, kBlock));
    if (!more || AllZero(block)) return false;
    if (!ChecksumHolds(block)) return Error{"tar: a header's checksum is wrong"};
    STARLING_TRY(ReadHeader(block, entry));
    char flag = block[kType];
    if (flag == 'x' || flag == 'g' || flag == 'L' || flag == 'K') {
      STARLING_ASSIGN(text, ReadRecord(entry.size));
      if (flag == 'L') long_name = text.c_str();
      if (flag == 'K') long_link = text.c_str();
      if (flag == 'x' || flag == 'g') {
        STARLING_ASSIGN(parsed, ParsePaxRecords(text));
        (flag == 'x' ? records : global_records_) = std::move(parsed);
      }
      continue;
    }
    if (long_name) entry.path = std::move(*long_name);
    if (long_link) entry.link = std::move(*long_link);
    STARLING_TRY(ApplyPaxRecords(global_records_, entry));
    STARLING_TRY(ApplyPaxRecords(records, entry));
    std::optional<TarEntry::Type> type = TypeOf(flag);
    if (!type) return Error{std::string("tar: entry type `") + flag + "` is not supported: " + entry.path, ENOTSUP};
    entry.type = *type;
    // Old archives mark folders by a slash at the end only.
    if (entry.type == TarEntry::Type::kFile && entry.path.ends_with('/')) entry.type = TarEntry::Type::kFolder;
    // Only files have content; a hard link's size says how large its target is.
    if (entry.type != TarEntry::Type::kFile) entry.size = 0;
    if (entry.path.find('\0') != std::string::npos || entry.link.find('\0') != std::string::npos) {
      return Error{"tar: a name holds a zero byte"};
    }
    if (!FitsId(entry.uid) || !FitsId(entry.gid)) return Error{"tar: an owner's number is too large: " + entry.path};
    padding_ = (kBlock - entry.size % kBlock) % kBlock;
    if (entry.type == TarEntry::Type::kFile && (flag == 'S' || entry.sparse)) {
      if (flag == 'S') STARLING_TRY(ReadOldSparseMap(block, stream_, entry));
      if (entry.map_in_content) STARLING_TRY(ReadSparseMapInContent(stream_, entry));
      STARLING_TRY(CheckExtents(entry));
    } else {
      entry.sparse = false;
    }
    content_left_ = entry.size;
    return true;
  }
}

Result<size_t> TarReader::ReadContent(void* out, size_t length) {
  if (content_left_ == 0) return size_t{0};
  size_t part = content_left_ < length ? static_cast<size_t>(content_left_) : length;
  STARLING_ASSIGN(count, stream_.ReadSome(out, part));
  if (count == 0) return Error{"tar: the archive is cut short"};
  content_left_ -= count;
  return count;
}

}  // namespace starling
