/** Pure: no clock, no I/O, no randomness. */

import { durationMs, parseDuration } from "./duration.ts";

/** Service label: an update whose tasks do not all run after this long ("5m") is taken for failed. Default: it may go on for ever. */
export const updateDeadlineLabel = "io.starling.update-deadline";
const limitMs = 7 * 24 * 3_600_000;

/** In milliseconds; undefined without the label, and for one that is no duration (validation refuses it). */
export function updateDeadlineMs(serviceLabels: Readonly<Record<string, string>>): number | undefined {
  const text = serviceLabels[updateDeadlineLabel];
  const duration = text === undefined ? undefined : parseDuration(text);
  const ms = durationMs(duration);
  return ms > 0 && ms <= limitMs ? ms : undefined;
}
