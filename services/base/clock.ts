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
  readonly fire: () => void;
  cancelled: boolean;
}

/** A clock that moves only when told to. Timers fire in order of their time, then of their making. */
export class FakeClock implements Clock {
  #now: Millis;
  /** By time, then by their making; cancelled ones go when their time comes. */
  readonly #timers: FakeTimer[] = [];

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
    const timer: FakeTimer = { at: this.#now + Math.max(0, delayMs), fire, cancelled: false };
    this.#timers.splice(this.#after(timer.at), 0, timer);
    return {
      cancel: () => {
        timer.cancelled = true;
      },
    };
  }

  sleep(delayMs: Millis, signal?: AbortSignal): Promise<void> {
    return sleepOn(this, delayMs, signal);
  }

  /** Timers not fired yet. */
  get pending(): number {
    return this.#timers.filter(({ cancelled }) => !cancelled).length;
  }

  /** Moves on by `ms`, firing what falls due and letting promise callbacks run after each timer. */
  async advance(ms: Millis): Promise<void> {
    const end = this.#now + ms;
    await settle();
    for (;;) {
      const next = this.#timers[0];
      if (next === undefined || next.at > end) break;
      this.#timers.shift();
      if (next.cancelled) continue;
      this.#now = Math.max(this.#now, next.at);
      next.fire();
      await settle();
    }
    this.#now = end;
    await settle();
  }

  /** Where a timer of this time belongs: behind all that are not later. */
  #after(at: Millis): number {
    let low = 0;
    let high = this.#timers.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#timers[middle]!.at <= at) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Lets queued microtasks and immediates run, a few turns deep. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
}
