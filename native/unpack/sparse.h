// Sparse files as GNU tar writes them: the old format's map in header blocks, and PAX formats 0.0, 0.1 and 1.0
// (GNU tar manual, "Storing Sparse Files").
#pragma once

#include <string>
#include <string_view>

#include "../base/result.h"
#include "layer_stream.h"
#include "tar_entry.h"

namespace starling {

// Record `GNU.sparse.KEY` of a PAX header; false when its value is damaged.
bool ApplySparseRecord(std::string_view key, const std::string& value, TarEntry& entry);

// Reads the map of an entry of type 'S': from its header block, and the blocks after it.
Status ReadOldSparseMap(const char* block, LayerStream& stream, TarEntry& entry);

// Format 1.0: reads the map that stands before the content, and takes it off entry.size.
Status ReadSparseMapInContent(LayerStream& stream, TarEntry& entry);

// Establishes TarEntry's invariant of extents.
Status CheckExtents(const TarEntry& entry);

}  // namespace starling
