import { SwarmError } from "@starling/base";

/** Runs the loops until the signal aborts, or one of them ends: then the others are ended, too. Throws what the first threw. */
export async function runTogether(
  loops: readonly ((signal: AbortSignal) => Promise<void>)[],
  signal: AbortSignal,
): Promise<void> {
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);
  const ended = loops.map((loop) => loop(either).finally(() => stop.abort(new SwarmError("Cancelled", "loop ended"))));
  const first = Promise.race(ended);
  await Promise.allSettled(ended);
  await first;
}
