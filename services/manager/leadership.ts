import { type Clock, type Logger, type Millis, SwarmError } from "@starling/base";

/** After which a loop that was refused for now is started again. */
const restartMs: Millis = 100;
/** How long loops may take to end once they shall; one that takes longer hangs. */
const endMs: Millis = 10_000;

export interface Loop {
  run(signal: AbortSignal): Promise<void>;
}

/**
 * The leader's part of a manager: runs its loops while it leads. States: follower → starting (prepare) → leading →
 * stopping → follower; `lead` and `follow` may be called at any time, the last call wins. Loops are level-triggered: one
 * that fails with Unavailable or ResourceExhausted (raft takes no proposals for a moment, a watch lags too far behind) is
 * started again, as `prepare` is.
 */
export class Leadership {
  readonly #prepare: (signal: AbortSignal) => Promise<void>;
  readonly #loops: () => readonly (readonly [name: string, loop: Loop])[];
  readonly #onBroken: (error: SwarmError) => void;
  readonly #clock: Clock;
  readonly #log: Logger;
  /** Ends the present term of leading; undefined while following. */
  #abort: AbortController | undefined;
  #ended: Promise<void> = Promise.resolve();
  readonly #hangs = Promise.withResolvers<void>();
  #leading = false;

  /** `prepare` makes what must be there before calls are served; `onBroken` is told when a loop fails or hangs. */
  constructor(options: {
    readonly prepare: (signal: AbortSignal) => Promise<void>;
    readonly loops: () => readonly (readonly [name: string, loop: Loop])[];
    readonly onBroken: (error: SwarmError) => void;
    readonly clock: Clock;
    readonly log: Logger;
  }) {
    this.#prepare = options.prepare;
    this.#loops = options.loops;
    this.#onBroken = options.onBroken;
    this.#clock = options.clock;
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

  /** Follows, and resolves when every loop has ended, or one of them hangs. */
  async stop(): Promise<void> {
    this.follow();
    await Promise.race([this.#ended, this.#hangs.promise]);
  }

  async #run(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    if (!(await this.#keep("prepare", this.#prepare, signal)) || signal.aborted) return;
    const running = new Set<string>();
    const loops = this.#loops().map(async ([name, loop]) => {
      running.add(name);
      await this.#keep(name, () => loop.run(signal), signal);
      running.delete(name);
    });
    const hang = this.#watchForHang(running, signal);
    this.#leading = true;
    this.#log.info("leading: loops are running");
    await Promise.all(loops);
    this.#leading = false;
    hang.cancel();
    this.#log.info("no longer leading: loops have ended");
  }

  /** Runs `work` to its end, again and again while it is only refused for now. False when it failed for good. */
  async #keep(name: string, work: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<boolean> {
    while (!signal.aborted) {
      try {
        await work(signal);
        return true;
      } catch (thrown) {
        if (signal.aborted) return false;
        const error = SwarmError.from(thrown);
        if (error.code !== "Unavailable" && error.code !== "ResourceExhausted") {
          const { stack } = thrown instanceof Error ? thrown : error;
          this.#log.error("leader's loop failed", { loop: name, error: stack ?? error.message });
          this.#onBroken(error);
          return false;
        }
        this.#log.warn("leader's loop starts over", { loop: name, error: error.message });
        await this.#clock.sleep(restartMs, signal).catch(() => undefined); // Aborted: the condition ends it.
      }
    }
    return false;
  }

  /** While an old term's loop hangs, this manager cannot serve the next one although raft may make it the leader. */
  #watchForHang(running: ReadonlySet<string>, signal: AbortSignal): { cancel(): void } {
    let cancel = () => signal.removeEventListener("abort", watch);
    const watch = () => {
      const timer = this.#clock.setTimer(endMs, () => {
        const names = [...running].join(", ");
        this.#onBroken(new SwarmError("Internal", `leader's loops did not end within ${endMs} ms: ${names}`));
        this.#hangs.resolve();
      });
      cancel = () => timer.cancel();
    };
    signal.addEventListener("abort", watch, { once: true });
    return { cancel: () => cancel() };
  }
}
