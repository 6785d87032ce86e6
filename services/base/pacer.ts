import type { Clock, Millis } from "./clock.ts";
import type { Steps } from "./steps.ts";

/** Work done between two turns of the event loop at most: raft's ticks and messages must not wait longer. */
const SLICE_MS: Millis = 5;

/** Splits long work on the main thread into slices. */
export class Pacer {
  readonly #clock: Clock;
  #sliceStart: Millis;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#sliceStart = clock.monotonic();
  }

  /** Whether the slice is used up: then `await turn()`. */
  get due(): boolean {
    return this.#clock.monotonic() - this.#sliceStart >= SLICE_MS;
  }

  /** Lets everything else on the event loop run once. */
  async turn(): Promise<void> {
    await new Promise<void>((resolve) => setImmediate(resolve));
    this.#sliceStart = this.#clock.monotonic();
  }
  /** Goes through the steps, with turns where they are due; `workedMs` is how long they took without these. */
  async run<T>(steps: Steps<T>): Promise<{ readonly value: T; readonly workedMs: Millis }> {
    let workedMs = 0;
    let since = this.#clock.monotonic();
    for (;;) {
      const step = steps.next();
      if (step.done) return { value: step.value, workedMs: workedMs + this.#clock.monotonic() - since };
      if (!this.due) continue;
      workedMs += this.#clock.monotonic() - since;
      await this.turn();
      since = this.#sliceStart;
    }
  }
}
