#include "pax.h"

#include <charconv>

#include "sparse.h"
#include "tar_fields.h"

namespace starling {
namespace {

constexpr std::string_view kXattr = "SCHILY.xattr.";
constexpr std::string_view kSparse = "GNU.sparse.";

// Seconds with a fraction, which counts away from zero: "-1.5" is half a second before -1.
bool ParseTime(std::string_view text, TarEntry& entry) {
  size_t dot = text.find('.');
  if (!ParseDecimal(text.substr(0, dot), entry.mtime_s)) return false;
  entry.mtime_ns = 0;
  if (dot == std::string_view::npos) return true;
  std::string digits(text.substr(dot + 1));
  if (digits.find_first_not_of("0123456789") != std::string::npos) return false;
  digits.resize(9, '0');
  if (!ParseDecimal(std::string_view(digits), entry.mtime_ns)) return false;
  if (text.starts_with('-') && entry.mtime_ns > 0) {
    if (entry.mtime_s == INT64_MIN) return false;
    entry.mtime_s--;
    entry.mtime_ns = 1'000'000'000 - entry.mtime_ns;
  }
  return true;
}

bool ApplyOne(std::string_view key, const std::string& value, TarEntry& entry) {
  if (key.starts_with(kXattr)) {
    entry.xattrs.emplace_back(key.substr(kXattr.size()), value);
    return true;
  }
  if (key.starts_with(kSparse)) return ApplySparseRecord(key.substr(kSparse.size()), value, entry);
  // An empty value takes back what a global header said.
  if (value.empty()) return true;
  if (key == "path") {
    entry.path = value;
  } else if (key == "linkpath") {
    entry.link = value;
  } else if (key == "size") {
    return ParseDecimal(value, entry.size);
  } else if (key == "uid") {
    return ParseDecimal(value, entry.uid);
  } else if (key == "gid") {
    return ParseDecimal(value, entry.gid);
  } else if (key == "mtime") {
    return ParseTime(value, entry);
  }
  return true;
}

}  // namespace

Result<PaxRecords> ParsePaxRecords(std::string_view text) {
  PaxRecords records;
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

Status ApplyPaxRecords(const PaxRecords& records, TarEntry& entry) {
  for (const auto& [key, value] : records) {
    if (!ApplyOne(key, value, entry)) return Error{"tar: damaged PAX record `" + key + "`"};
  }
  return {};
}

}  // namespace starling
