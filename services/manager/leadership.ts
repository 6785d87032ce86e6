import { type Logger, SwarmError } from "@starling/base";

export interface Loop {
  run(signal: AbortSignal): Promise<void>;
}

/**
 * The leader's part of a manager: runs its loops while it leads. States: follower → starting (prepare) → leading →
 * stopping → follower; `lead` and `follow` may be called at any time, the last call wins.
 */
export class Leadership {
  readonly #prepare: (signal: AbortSignal) => Promise<void>;
  readonly #loops: () => readonly (readonly [name: string, loop: Loop])[];
  readonly #onBroken: (error: SwarmError) => void;
  readonly #log: Logger;
  /** Ends the present term of leading; undefined while following. */
  #abort: AbortController | undefined;
  #ended: Promise<void> = Promise.resolve();
  #leading = false;

  /** `prepare` makes what must be there before calls are served; `onBroken` is told when a loop fails. */
  constructor(options: {
    readonly prepare: (signal: AbortSignal) => Promise<void>;
    readonly loops: () => readonly (readonly [name: string, loop: Loop])[];
    readonly onBroken: (error: SwarmError) => void;
    readonly log: Logger;
  }) {
    this.#prepare = options.prepare;
    this.#loops = options.loops;
    this.#onBroken = options.onBroken;
    this.#log = options.log;
  }

  /** Defined while the loops run and calls may be served here; aborts when that ends. */
  get signal(): AbortSignal | undefined {
    return this.#leading ? this.#abort?.signal : undefined;
  }

  get leading(): boolean {
    return this.signal !== undefined;
  }

  lead(): void {
    if (this.#abort) return;
    const abort = new AbortController();
    this.#abort = abort;
    const before = this.#ended;
    this.#ended = before.then(() => this.#run(abort.signal));
  }

  follow(): void {
    this.#leading = false;
    this.#abort?.abort(new SwarmError("Unavailable", "this manager no longer leads"));
    this.#abort = undefined;
  }

  /** Follows, and resolves when every loop has ended. */
  async stop(): Promise<void> {
    this.follow();
    await this.#ended;
  }

  async #run(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    try {
      await this.#prepare(signal);
    } catch (thrown) {
      if (!signal.aborted) this.#onBroken(SwarmError.from(thrown));
      return;
    }
    if (signal.aborted) return;
    const running = this.#loops().map(async ([name, loop]) => {
      try {
        await loop.run(signal);
      } catch (thrown) {
        if (signal.aborted) return;
        const error = thrown instanceof Error ? thrown : new Error(String(thrown));
        this.#log.error("leader's loop failed", { loop: name, error: error.stack ?? error.message });
        this.#onBroken(SwarmError.from(thrown));
      }
    });
    this.#leading = true;
    this.#log.info("leading: loops are running");
    await Promise.all(running);
    this.#leading = false;
    this.#log.info("no longer leading: loops have ended");
  }
}
