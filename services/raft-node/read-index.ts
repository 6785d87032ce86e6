import { type Clock, type Millis, type Random, SwarmError, type Timer } from "@starling/base";
import type { ReadState } from "raft-ts";
import type { NextTurn } from "./next-turn.ts";
import { random64 } from "./proposals.ts";

export interface ReadIndexOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly nextTurn: NextTurn;
  /** Index of the last entry applied here. */
  readonly applied: () => number;
  /** Hands a round to raft, whose answer brings the same context. Throws SwarmError when raft does not run. */
  readonly ask: (context: Uint8Array) => void;
}

const retryMs: Millis = 250;
const timeoutMs: Millis = 5_000;

interface Reader {
  readonly deadline: Millis;
  readonly resolve: (index: number) => void;
  readonly reject: (error: SwarmError) => void;
}

/**
 * Linearizable reads (Raft thesis §6.4). A round asks raft for an index that covers everything acknowledged before the
 * round began; its readers go on when that index is applied here. One round is under way at a time, and whoever comes
 * meanwhile goes with the next: nobody trusts a round that began before he came. A round may get lost: it is repeated.
 */
export class ReadIndex {
  readonly #options: ReadIndexOptions;
  /** For the next round. */
  #gathered: Reader[] = [];
  #round: { readonly context: Buffer; readers: Reader[] } | undefined;
  #starting = false;
  #timer: Timer | undefined;
  #applying: { readonly index: number; readonly readers: readonly Reader[] }[] = [];

  constructor(options: ReadIndexOptions) {
    this.#options = options;
  }

  /**
   * Resolves with an index, applied here, that covers everything acknowledged before the call. Rejects Unavailable when no
   * leader confirms it within 5 s.
   */
  read(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#gathered.push({ deadline: this.#options.clock.monotonic() + timeoutMs, resolve, reject });
      this.#startSoon();
    });
  }

  /** Asks again, next turn: there is another leader, to whom the round under way is unknown. */
  repeat(): void {
    if (this.#round === undefined) return;
    const { context } = this.#round;
    this.#options.nextTurn(() => {
      if (this.#round?.context === context) this.#ask(context);
    });
  }

  /** Raft's answer to a round. */
  answer({ index, requestCtx }: ReadState): void {
    const round = this.#round;
    if (round === undefined || !round.context.equals(requestCtx)) return;
    this.#endRound();
    if (index <= this.#options.applied()) settle(round.readers, index);
    else this.#applying.push({ index, readers: round.readers });
    this.#startSoon();
  }

  /** Everything up to `index` is applied. */
  appliedTo(index: number): void {
    if (this.#applying.length === 0) return;
    const due = this.#applying.filter((waiting) => waiting.index <= index);
    if (due.length === 0) return;
    this.#applying = this.#applying.filter((waiting) => waiting.index > index);
    for (const waiting of due) settle(waiting.readers, waiting.index);
  }

  /** The node stops: nothing more will be confirmed or applied. */
  abandon(reason: SwarmError): void {
    const waiting = [...this.#applying.flatMap(({ readers }) => readers), ...(this.#round?.readers ?? [])];
    const all = [...waiting, ...this.#gathered];
    this.#endRound();
    this.#applying = [];
    this.#gathered = [];
    for (const { reject } of all) reject(reason);
  }

  /** All that ask in one turn of the event loop go together. */
  #startSoon(): void {
    if (this.#starting || this.#round !== undefined || this.#gathered.length === 0) return;
    this.#starting = true;
    this.#options.nextTurn(() => {
      this.#starting = false;
      if (this.#gathered.length === 0) return;
      const context = Buffer.alloc(8);
      context.writeBigUInt64LE(random64(this.#options.random));
      this.#round = { context, readers: this.#gathered };
      this.#gathered = [];
      this.#ask(context);
    });
  }

  #ask(context: Buffer): void {
    this.#timer?.cancel();
    this.#timer = this.#options.clock.setTimer(retryMs, () => this.#onSilence(context));
    try {
      this.#options.ask(context);
    } catch (thrown) {
      this.abandon(SwarmError.from(thrown));
    }
  }

  #onSilence(context: Buffer): void {
    const round = this.#round;
    if (round?.context !== context) return;
    const now = this.#options.clock.monotonic();
    const late = round.readers.filter(({ deadline }) => deadline <= now);
    round.readers = round.readers.filter(({ deadline }) => deadline > now);
    const error = new SwarmError("Unavailable", "no raft leader confirmed the read: try again");
    for (const { reject } of late) reject(error);
    if (round.readers.length > 0) {
      this.#ask(context);
      return;
    }
    this.#endRound();
    this.#startSoon();
  }

  #endRound(): void {
    this.#timer?.cancel();
    this.#round = undefined;
  }
}

function settle(readers: readonly Reader[], index: number): void {
  for (const { resolve } of readers) resolve(index);
}
