import { setImmediate } from "node:timers";

/** Calls `run` after everything else of this turn of the event loop. */
export type NextTurn = (run: () => void) => void;

/** This process's event loop. */
export const machineTurn: NextTurn = (run) => void setImmediate(run);

/** What long work awaits between its pieces, so that everything else gets its turn. Rejects once `signal` aborts. */
export function pauses(nextTurn: NextTurn = machineTurn, signal?: AbortSignal): () => Promise<void> {
  return () =>
    new Promise((resolve, reject) => {
      nextTurn(() => (signal?.aborted ? reject(signal.reason) : resolve()));
    });
}
