/** Pure: no clock, no I/O, no randomness. */
import type { Millis } from "@starling/base";

/** Losses within this time count together. */
const windowMs = 10 * 60_000;
/** A node that was lost this often within the window is held back at its return. */
const lossesMax = 3;
const holdMs = 30_000;
const holdMsMax = 5 * 60_000;

/** Times at which a node was lost, so that its tasks were moved. Oldest first. */
export type Losses = readonly Millis[];

export function noteLoss(losses: Losses, now: Millis): Losses {
  return [...losses.filter((at) => now - at < windowMs), now];
}

/**
 * How long a node that comes back has to stay before it gets tasks again: nothing for the first losses, then 30 s, twice
 * that for each loss more, 5 min at most. So tasks do not follow a node that comes and goes.
 */
export function holdBackMs(losses: Losses, now: Millis): Millis {
  const count = losses.filter((at) => now - at < windowMs).length;
  return count < lossesMax ? 0 : Math.min(holdMsMax, holdMs * 2 ** (count - lossesMax));
}
