import type { Clock, Millis } from "./clock.ts";
import type { Steps } from "./steps.ts";

/**
 * Work done in one turn of the event loop at most, by everything that is paced together: raft's ticks and messages must not wait
 * longer.
 */
const SLICE_MS: Millis = 5;

interface Waiter {
  readonly clock: Clock;
  readonly resume: (turnStart: Millis) => void;
}

/** Who waits for a turn, in order. Invariant: as long as somebody does, `beginTurn` or `resumeNext` is going to run. */
const waiters: Waiter[] = [];

/**
 * Resolves in a later turn of the event loop, with when that began by this clock. All that wait go on one after the other, each
 * until it waits again; those for whom a turn's time does not suffice have the next one.
 */
export function pacedTurn(clock: Clock): Promise<Millis> {
  return new Promise((resolve) => {
    if (waiters.push({ clock, resume: resolve }) === 1 && !turning) setImmediate(beginTurn);
  });
}

/** Somebody has been resumed in this turn of the event loop. */
let turning = false;

function beginTurn(): void {
  turning = true;
  resumeNext(waiters[0]!.clock.monotonic(), waiters.length);
}

/** Resumes the first of the `count` that waited when the turn began, and the others once it waits again. */
function resumeNext(turnStart: Millis, count: number): void {
  const [next] = waiters;
  if (next === undefined || count === 0 || next.clock.monotonic() - turnStart >= SLICE_MS) {
    turning = false;
    if (next !== undefined) setImmediate(beginTurn);
    return;
  }
  waiters.shift();
  next.resume(turnStart);
  // Ticks come after all microtasks, so after everything that the resumed one does without waiting.
  queueMicrotask(() => process.nextTick(resumeNext, turnStart, count - 1));
}

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

  /** A slice begins: what its owner has waited for is no work. */
  begin(): void {
    this.#sliceStart = this.#clock.monotonic();
  }

  /** Lets everything else on the event loop run once. What other paced work took of the new turn is part of the slice. */
  async turn(): Promise<void> {
    this.#sliceStart = await pacedTurn(this.#clock);
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
      since = this.#clock.monotonic();
    }
  }
}
