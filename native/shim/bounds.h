// How much a shim keeps of answers that a client does not read. A test builds a shim without these bounds, to show what a
// client could do to it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace starling {

#ifdef STARLING_SHIM_WITHOUT_BOUNDS
inline constexpr size_t kUnreadMaxBytes = SIZE_MAX;
inline constexpr size_t kOutputMaxBytes = SIZE_MAX;
#else
// Beyond it the client's programs are not read.
inline constexpr size_t kUnreadMaxBytes = 256 << 10;
// Beyond it the client is cut off.
inline constexpr size_t kOutputMaxBytes = 8 << 20;
#endif

}  // namespace starling
