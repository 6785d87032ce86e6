// Capabilities by name and number, and their reduction before a program starts.
#pragma once

#include <cstdint>
#include <string_view>

#include "../base/result.h"

namespace starling {

// "CAP_CHOWN" → 0; -1 when there is none of that name.
int CapabilityNumber(std::string_view name);

// Takes everything outside `wanted` out of the bounding set, and clears the ambient and inheritable sets. What this
// process itself lacks stays lacking.
Status LimitBoundingSet(uint64_t wanted);

// Sets effective and permitted to `wanted` (as far as permitted now).
Status SetCapabilities(uint64_t wanted);

}  // namespace starling
