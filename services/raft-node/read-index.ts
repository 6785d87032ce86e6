import { type Clock, type Random, SwarmError } from "@starling/base";
import type { ReadState } from "raft-ts";
import { random64 } from "./proposals.ts";

const retryMs = 250;
const timeoutMs = 5_000;

/** Linearizable reads: asks raft for an index and waits until it is applied. Requests may get lost, so they are repeated. */
export class ReadIndex {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #ask: (context: Uint8Array) => void;
  readonly #answers = new Map<string, (index: number) => void>();
  #applyWaiters: { readonly index: number; readonly resolve: () => void; readonly reject: (e: SwarmError) => void }[] =
    [];

  constructor(options: {
    readonly clock: Clock;
    readonly random: Random;
    readonly ask: (context: Uint8Array) => void;
  }) {
    this.#clock = options.clock;
    this.#random = options.random;
    this.#ask = options.ask;
  }

  /**
   * Resolves with an index, applied here, that covers everything acknowledged before the call. Rejects Unavailable when no
   * leader confirms it within 5 s.
   */
  async read(applied: () => number, signal: AbortSignal): Promise<number> {
    const context = Buffer.alloc(8);
    context.writeBigUInt64LE(random64(this.#random));
    const key = context.toString("hex");
    const answered = Promise.withResolvers<number>();
    this.#answers.set(key, answered.resolve);
    try {
      let index: number | undefined;
      for (let waited = 0; index === undefined; waited += retryMs) {
        if (waited >= timeoutMs) throw new SwarmError("Unavailable", "no raft leader confirmed the read: try again");
        this.#ask(context);
        const timer = new AbortController();
        const timeout = this.#clock.sleep(retryMs, AbortSignal.any([timer.signal, signal])).then(() => undefined);
        index = await Promise.race([answered.promise, timeout]);
        timeout.catch(() => undefined);
        timer.abort();
      }
      if (index > applied()) {
        const wanted = index;
        await new Promise<void>((resolve, reject) => this.#applyWaiters.push({ index: wanted, resolve, reject }));
      }
      return index;
    } finally {
      this.#answers.delete(key);
    }
  }

  /** The node stops: nothing more will be applied. */
  abandon(reason: SwarmError): void {
    const waiters = this.#applyWaiters;
    this.#applyWaiters = [];
    for (const { reject } of waiters) reject(reason);
  }

  answer({ index, requestCtx }: ReadState): void {
    this.#answers.get(Buffer.from(requestCtx).toString("hex"))?.(index);
  }

  appliedTo(index: number): void {
    if (this.#applyWaiters.length === 0) return;
    const due = this.#applyWaiters.filter((waiter) => waiter.index <= index);
    if (due.length === 0) return;
    this.#applyWaiters = this.#applyWaiters.filter((waiter) => waiter.index > index);
    for (const { resolve } of due) resolve();
  }
}
