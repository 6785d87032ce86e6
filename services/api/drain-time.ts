/** Pure: no clock, no I/O, no randomness. */

import { durationMs, parseDuration } from "./duration.ts";
import type { ContainerSpec } from "./gen/messages.js";

/** Container label: how long connections of a task that will stop may go on before it gets its stop signal ("30s"). */
export const drainTimeLabel = "io.starling.drain-time";
const defaultDrainMs = 2_000;

/** In milliseconds; a label that is no duration gives the default (validation refuses it). */
export function drainTimeMs(container: ContainerSpec): number {
  const text = container.labels[drainTimeLabel];
  const duration = text === undefined ? undefined : parseDuration(text);
  return duration === undefined ? defaultDrainMs : Math.max(0, durationMs(duration));
}
