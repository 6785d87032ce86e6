// Milliseconds of the two clocks.
#pragma once

#include <cstdint>
#include <ctime>

namespace starling {

inline int64_t ReadClockMs(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}
inline int64_t WallMs() { return ReadClockMs(CLOCK_REALTIME); }
inline int64_t MonotonicMs() { return ReadClockMs(CLOCK_MONOTONIC); }

}  // namespace starling
