import { type Timestamp, timestampMs } from "@starling/api";

const steps: readonly (readonly [number, string])[] = [
  [1, "second"],
  [60, "minute"],
  [3600, "hour"],
  [86_400, "day"],
  [7 * 86_400, "week"],
  [30 * 86_400, "month"],
  [365 * 86_400, "year"],
];

/** How long ago, in the largest unit that fits twice or once: `5 seconds ago`, `1 minute ago`. */
export function formatAge(timestamp: Timestamp | undefined, nowMs: number): string {
  if (timestamp === undefined) return "";
  const seconds = Math.max(0, Math.floor((nowMs - timestampMs(timestamp)) / 1000));
  if (seconds < 1) return "less than a second ago";
  const [size, unit] = steps.findLast(([step]) => seconds >= step)!;
  const count = Math.floor(seconds / size);
  return `${count} ${unit}${count === 1 ? "" : "s"} ago`;
}

/** A duration as it is written on the command line: `500ms`, `1.5s`, `1m30s`, `2160h`. */
export function formatDuration(ms: number): string {
  if (ms < 1000) return `${ms}ms`;
  const hours = Math.floor(ms / 3_600_000);
  const minutes = Math.floor(ms / 60_000) % 60;
  const seconds = (ms % 60_000) / 1000;
  return `${hours > 0 ? `${hours}h` : ""}${minutes > 0 ? `${minutes}m` : ""}${seconds > 0 ? `${seconds}s` : ""}`;
}

/** RFC 3339 with nanoseconds, as protobuf's JSON mapping has it; empty when unset. */
export function formatTimestamp(timestamp: Timestamp | undefined): string {
  if (timestamp === undefined) return "";
  const whole = new Date(timestamp.seconds * 1000).toISOString().slice(0, 19);
  const fraction = timestamp.nanos === 0 ? "" : `.${String(timestamp.nanos).padStart(9, "0").replace(/0+$/, "")}`;
  return `${whole}${fraction}Z`;
}
