/** Pure: no clock, no I/O, no randomness. */

import type { Duration, Timestamp } from "./gen/messages.js";

/** Milliseconds of a duration, fractions kept; an unset duration gives `whenUnset` (0 unless told). */
export function durationMs(duration: Duration | undefined, whenUnset = 0): number {
  return duration === undefined ? whenUnset : duration.seconds * 1000 + duration.nanos / 1e6;
}

/** The duration of `ms` milliseconds; seconds and nanos carry the same sign, as protobuf asks. */
export function durationOfMs(ms: number): Duration {
  const seconds = Math.trunc(ms / 1000);
  return { seconds, nanos: Math.round((ms - seconds * 1000) * 1e6) };
}

/** Milliseconds since the Unix epoch. */
export function timestampMs(timestamp: Timestamp): number {
  return timestamp.seconds * 1000 + Math.floor(timestamp.nanos / 1e6);
}

/** The timestamp of a wall-clock reading in milliseconds since the Unix epoch. */
export function timestampOfMs(ms: number): Timestamp {
  const seconds = Math.floor(ms / 1000);
  return { seconds, nanos: Math.round((ms - seconds * 1000) * 1e6) };
}
