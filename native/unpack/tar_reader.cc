#include "tar_reader.h"

#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>

namespace starling {
namespace {

constexpr size_t kBlock = 512;
// More than any real name or set of attributes; bounds what a header can make us hold.
constexpr uint64_t kRecordMax = 1 << 20;

using Records = std::vector<std::pair<std::string, std::string>>;

// Offsets and lengths of POSIX.1-1988 ustar.
struct Field {
  size_t offset;
  size_t length;
};
constexpr Field kName = {0, 100}, kMode = {100, 8}, kUid = {108, 8}, kGid = {116, 8}, kSize = {124, 12}, kMtime = {136, 12},
                kChecksum = {148, 8}, kLink = {157, 100}, kMajor = {329, 8}, kMinor = {337, 8}, kPrefix = {345, 155};
constexpr size_t kType = 156;
constexpr size_t kMagic = 257;

std::string_view Text(const char* block, Field field) {
  const char* start = block + field.offset;
  return std::string_view(start, strnlen(start, field.length));
}

// Octal digits, or GNU's base 256 when the first bit is set.
std::optional<int64_t> Number(const char* block, Field field) {
  auto bytes = reinterpret_cast<const unsigned char*>(block + field.offset);
  if ((bytes[0] & 0x80) != 0) {
    bool negative = (bytes[0] & 0x40) != 0;
    uint64_t value = negative ? ~uint64_t{0} : 0;
    for (size_t i = 0; i < field.length; i++) {
      uint64_t byte = i == 0 ? (negative ? bytes[i] | 0x80U : bytes[i] & 0x7fU) : bytes[i];
      if (field.length - i > 8 && byte != (negative ? 0xffU : 0U)) return std::nullopt;
      value = value << 8 | byte;
    }
    return static_cast<int64_t>(value);
  }
  int64_t value = 0;
  bool digits = false;
  for (char c : Text(block, field)) {
    if (c == ' ') {
      if (digits) break;
      continue;
    }
    if (c < '0' || c > '7' || value > (INT64_MAX >> 3)) return std::nullopt;
    value = value * 8 + (c - '0');
    digits = true;
  }
  return value;
}

bool ChecksumHolds(const char* block) {
  int64_t sum = 0;
  for (size_t i = 0; i < kBlock; i++) {
    bool own = i >= kChecksum.offset && i < kChecksum.offset + kChecksum.length;
    sum += own ? ' ' : static_cast<unsigned char>(block[i]);
  }
  return Number(block, kChecksum) == sum;
}

// "LENGTH KEY=VALUE\n", LENGTH counting itself (POSIX.1-2001 pax).
Result<Records> ParseRecords(std::string_view text) {
  Records records;
  while (!text.empty() && text[0] != '\0') {
    size_t length = 0;
    auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), length);
    size_t digits = static_cast<size_t>(end - text.data());
    if (problem != std::errc() || length > text.size() || length < digits + 3 || text[digits] != ' ' ||
        text[length - 1] != '\n') {
      return Error{"tar: damaged PAX record"};
    }
    std::string_view record = text.substr(digits + 1, length - digits - 2);
    size_t equals = record.find('=');
    if (equals == std::string_view::npos) return Error{"tar: damaged PAX record"};
    records.emplace_back(record.substr(0, equals), record.substr(equals + 1));
    text.remove_prefix(length);
  }
  return records;
}

template <class T>
bool Decimal(std::string_view text, T& out) {
  auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), out);
  return problem == std::errc() && end == text.data() + text.size();
}

bool Time(std::string_view text, TarEntry& entry) {
  size_t dot = text.find('.');
  if (!Decimal(text.substr(0, dot), entry.mtime_s)) return false;
  entry.mtime_ns = 0;
  if (dot == std::string_view::npos) return true;
  std::string digits(text.substr(dot + 1).substr(0, 9));
  digits.resize(9, '0');
  return Decimal(std::string_view(digits), entry.mtime_ns);
}

Status ApplyRecords(const Records& records, TarEntry& entry) {
  for (const auto& [key, value] : records) {
    bool good = true;
    if (key == "path") {
      entry.path = value;
    } else if (key == "linkpath") {
      entry.link = value;
    } else if (key == "size") {
      good = Decimal(value, entry.size);
    } else if (key == "uid") {
      good = Decimal(value, entry.uid);
    } else if (key == "gid") {
      good = Decimal(value, entry.gid);
    } else if (key == "mtime") {
      good = Time(value, entry);
    } else if (key.starts_with("SCHILY.xattr.")) {
      entry.xattrs.emplace_back(key.substr(13), value);
    } else if (key.starts_with("GNU.sparse.")) {
      return Error{"tar: sparse files are not supported: " + entry.path, ENOTSUP};
    }
    if (!good) return Error{"tar: damaged PAX record `" + key + "`"};
  }
  return {};
}

bool AllZero(const char* block) {
  for (size_t i = 0; i < kBlock; i++) {
    if (block[i] != 0) return false;
  }
  return true;
}

std::optional<TarEntry::Type> TypeOf(char flag) {
  switch (flag) {
    case '0': case '\0': case '7': return TarEntry::Type::kFile;
    case '1': return TarEntry::Type::kHardLink;
    case '2': return TarEntry::Type::kSymlink;
    case '3': return TarEntry::Type::kCharDevice;
    case '4': return TarEntry::Type::kBlockDevice;
    case '5': return TarEntry::Type::kFolder;
    case '6': return TarEntry::Type::kFifo;
    default: return std::nullopt;
  }
}

Status ReadHeader(const char* block, TarEntry& entry) {
  auto size = Number(block, kSize);
  auto mode = Number(block, kMode);
  auto uid = Number(block, kUid);
  auto gid = Number(block, kGid);
  auto mtime = Number(block, kMtime);
  if (!size || *size < 0 || !mode || !uid || *uid < 0 || !gid || *gid < 0 || !mtime) {
    return Error{"tar: damaged number in a header"};
  }
  entry = TarEntry{};
  entry.size = static_cast<uint64_t>(*size);
  entry.mode = static_cast<uint32_t>(*mode) & 07777U;
  entry.uid = static_cast<uint32_t>(*uid);
  entry.gid = static_cast<uint32_t>(*gid);
  entry.mtime_s = *mtime;
  entry.path = Text(block, kName);
  entry.link = Text(block, kLink);
  // GNU's magic is "ustar  ": there the prefix field holds other things.
  if (std::memcmp(block + kMagic, "ustar\0", 6) == 0 && block[kPrefix.offset] != '\0') {
    entry.path = std::string(Text(block, kPrefix)) + "/" + entry.path;
  }
  entry.device_major = static_cast<uint32_t>(Number(block, kMajor).value_or(0));
  entry.device_minor = static_cast<uint32_t>(Number(block, kMinor).value_or(0));
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
  Records records;
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
        STARLING_ASSIGN(parsed, ParseRecords(text));
        (flag == 'x' ? records : global_records_) = std::move(parsed);
      }
      continue;
    }
    if (long_name) entry.path = std::move(*long_name);
    if (long_link) entry.link = std::move(*long_link);
    STARLING_TRY(ApplyRecords(global_records_, entry));
    STARLING_TRY(ApplyRecords(records, entry));
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
    content_left_ = entry.size;
    padding_ = (kBlock - entry.size % kBlock) % kBlock;
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
