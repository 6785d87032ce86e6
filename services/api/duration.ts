/** Pure: no clock, no I/O, no randomness. */

import type { Duration, Timestamp } from "./gen/messages.js";

const unitNanos: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  μs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
};

/** A duration as Go writes them: `5s`, `1m30s`, `1.5h`, `-2s`, `0`; undefined when it is none, or too long to be exact. */
export function parseDuration(text: string): Duration | undefined {
  if (text === "0") return { seconds: 0, nanos: 0 };
  const match = /^([+-]?)((?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+$/.exec(text);
  if (!match) return undefined;
  let total = 0;
  for (const [, number, unit] of text.matchAll(/(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g)) {
    total += Number(number) * unitNanos[unit!]!;
  }
  if (!Number.isSafeInteger(Math.round(total / 1e3))) return undefined;
  const sign = match[1] === "-" ? -1 : 1;
  const seconds = Math.trunc(total / 1e9);
  return { seconds: sign * seconds || 0, nanos: sign * Math.round(total - seconds * 1e9) || 0 };
}

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
