/** Pure: no clock, no I/O, no randomness. */
import type { FlapDamping } from "@starling/api";
import type { Millis } from "@starling/base";

/** A node is held back for this many times `holdMs` at most. */
const holdFactorMax = 10;
/** Times that are remembered: more than any setting asks for. */
const rememberedMax = 1_000;

/** Times at which a node was lost, so that its tasks were moved. Oldest first. */
export type Losses = readonly Millis[];

export function noteLoss(losses: Losses, now: Millis, { windowMs }: FlapDamping): Losses {
  return [...losses.filter((at) => now - at < windowMs), now].slice(-rememberedMax);
}

/**
 * How long a node that comes back has to stay before it gets tasks again: nothing for the first losses, then `holdMs`, twice
 * that for each loss more. So tasks do not follow a node that comes and goes.
 */
export function holdBackMs(losses: Losses, now: Millis, { losses: limit, windowMs, holdMs }: FlapDamping): Millis {
  const count = losses.filter((at) => now - at < windowMs).length;
  return limit === 0 || count < limit ? 0 : holdMs * Math.min(holdFactorMax, 2 ** (count - limit));
}
