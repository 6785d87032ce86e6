// PAX extended header records (POSIX.1-2001), with GNU's records of sparse files and star's of extended attributes.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/result.h"
#include "tar_entry.h"

namespace starling {

using PaxRecords = std::vector<std::pair<std::string, std::string>>;

// "LENGTH KEY=VALUE\n" again and again, LENGTH counting itself.
Result<PaxRecords> ParsePaxRecords(std::string_view text);

// Lets `records` override what the entry's own header says. Keys that are not known are passed over.
Status ApplyPaxRecords(const PaxRecords& records, TarEntry& entry);

}  // namespace starling
