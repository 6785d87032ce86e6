import { Heap } from "./heap.ts";

/** Milliseconds: since the Unix epoch for `now`, since an arbitrary start for `monotonic`. */
export type Millis = number;

/** A pending timer; `cancel` after it fired does nothing. */
export interface Timer {
  cancel(): void;
}

/** Time as an input. Production uses `systemClock`, tests turn a `FakeClock`. */
export interface Clock {
  /** Wall-clock time, for stamps that people read. */
  now(): Millis;
  /** Never goes back; for periods and deadlines. */
  monotonic(): Millis;
  /** Calls `fire` once, `delayMs` from now. System timers do not keep the process alive. */
  setTimer(delayMs: Millis, fire: () => void): Timer;
  /** Resolves after `delayMs`; rejects with the signal's reason when it aborts first. */
  sleep(delayMs: Millis, signal?: AbortSignal): Promise<void>;
}

function sleepOn(clock: Clock, delayMs: Millis, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const onAbort = () => {
      timer.cancel();
      reject(signal?.reason);
    };
    const timer = clock.setTimer(delayMs, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimer(delayMs, fire) {
    const handle = setTimeout(fire, delayMs);
    handle.unref();
    return { cancel: () => clearTimeout(handle) };
  },
  sleep: (delayMs, signal) => sleepOn(systemClock, delayMs, signal),
};

interface FakeTimer {
  readonly at: Millis;
  /** In order of making. */
  readonly number: number;
  readonly fire: () => void;
  /** Fired, or cancelled. */
  over: boolean;
}

/** A clock that moves only when told to. Timers fire in order of their time, then of their making. */
export class FakeClock implements Clock {
  #now: Millis;
  /** Cancelled ones go when their time comes. */
  readonly #timers = new Heap<FakeTimer>((a, b) => a.at < b.at || (a.at === b.at && a.number < b.number));
  #made = 0;
  #pending = 0;

  constructor(startMs: Millis = 1_700_000_000_000) {
    this.#now = startMs;
  }

  now(): Millis {
    return this.#now;
  }

  monotonic(): Millis {
    return this.#now;
  }

  setTimer(delayMs: Millis, fire: () => void): Timer {
    const at = this.#now + Math.max(0, delayMs);
    const timer: FakeTimer = { at, number: this.#made++, fire, over: false };
    this.#timers.push(timer);
    this.#pending++;
    return { cancel: () => this.#retire(timer) };
  }

  sleep(delayMs: Millis, signal?: AbortSignal): Promise<void> {
    return sleepOn(this, delayMs, signal);
  }

  /** Timers not fired yet. */
  get pending(): number {
    return this.#pending;
  }

  /** Moves on by `ms`, firing what falls due and letting promise callbacks run after each timer. */
  async advance(ms: Millis): Promise<void> {
    const end = this.#now + ms;
    await settle();
    for (let next = this.#timers.top; next !== undefined && next.at <= end; next = this.#timers.top) {
      this.#timers.pop();
      if (next.over) continue;
      this.#retire(next);
      this.#now = Math.max(this.#now, next.at);
      next.fire();
      await settle();
    }
    this.#now = end;
    await settle();
  }

  #retire(timer: FakeTimer): void {
    if (!timer.over) this.#pending--;
    timer.over = true;
  }
}

/** Lets queued microtasks and immediates run, a few turns deep. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
}
