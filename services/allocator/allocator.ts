import { type Clock, type Logger, Pacer, SwarmError } from "@starling/base";
import type { MemoryStore } from "@starling/store";
import { Session } from "./session.ts";

export interface AllocatorOptions {
  readonly store: MemoryStore;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Wait after a refused transaction before the ledger is built anew. */
const retryMs = 100;

/**
 * The leader's loop that gives networks their VXLAN ids and subnets, services virtual IPs and ports, nodes and tasks
 * addresses, and so moves tasks from NEW to PENDING. What can't be had is tried again when something is freed.
 */
export function createAllocator(options: AllocatorOptions): { run(signal: AbortSignal): Promise<void> } {
  const log = options.log.with({ station: "allocator" });
  return {
    async run(signal) {
      while (!signal.aborted) {
        try {
          await runSession({ ...options, log }, signal);
        } catch (thrown) {
          const error = SwarmError.from(thrown);
          if (signal.aborted) return;
          if (error.code !== "Unavailable" && error.code !== "ResourceExhausted") throw thrown;
          log.warn("starting over from the store", { error });
          // Aborted while asleep: the loop's condition ends it.
          await options.clock.sleep(retryMs, signal).catch(() => {});
        }
      }
    },
  };
}

/** Passes one after another; events that arrive during a pass are for the next. */
async function runSession(options: AllocatorOptions, signal: AbortSignal): Promise<void> {
  const session = new Session(options);
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);
  const events = await follow(options, session, either);
  let wake: () => void = () => {};
  const reading = (async () => {
    try {
      for await (const batch of events.batches()) {
        for (const event of batch) session.note(event);
        if (!session.idle) wake();
      }
    } finally {
      stop.abort();
      wake();
    }
  })();
  reading.catch(() => {}); // Awaited below.
  try {
    while (!either.aborted) {
      if (session.idle) await new Promise<void>((resolve) => (wake = resolve));
      // The rest of this turn's events join the pass.
      await new Promise<void>((resolve) => setImmediate(resolve));
      if (!either.aborted && !session.idle) await session.pass();
    }
  } finally {
    stop.abort();
  }
  await reading;
}

/** Loads the session; resolves with what is committed after that. */
async function follow({ store, clock }: AllocatorOptions, session: Session, signal: AbortSignal) {
  const kinds = ["cluster", "network", "node", "service", "task"] as const;
  const { value: tx, events } = store.viewAndWatch((tx) => tx, { kinds, signal });
  await new Pacer(clock).run(session.load(tx));
  return events;
}
