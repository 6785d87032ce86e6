import type { Clock, Millis, Timer } from "@starling/base";

/** A process of the simulated world: what belongs to it is dropped once it is dead, and waits while it is paused. */
export class Process {
  alive = true;
  pausedUntil: Millis = 0;
}

interface Event {
  readonly at: Millis;
  readonly sequence: number;
  readonly owner: Process | undefined;
  /** Undefined once cancelled. */
  run: (() => void) | undefined;
}

/** Virtual time: what happens next, in order of time, then of asking. A binary heap. */
export class Schedule {
  #now: Millis = 0;
  #sequence = 0;
  readonly #heap: Event[] = [];

  get now(): Millis {
    return this.#now;
  }

  /** Calls `run` after `delayMs`, unless `owner` is dead by then. */
  after(delayMs: Millis, owner: Process | undefined, run: () => void): Timer {
    const event: Event = { at: this.#now + Math.max(0, delayMs), sequence: this.#sequence++, owner, run };
    this.#push(event);
    return {
      cancel: () => {
        event.run = undefined;
      },
    };
  }

  /** The next event until `end`, as a function that makes it happen; undefined, with the time at `end`, when there is none. */
  next(end: Millis): (() => void) | undefined {
    for (;;) {
      const event = this.#heap[0];
      if (event === undefined || event.at > end) {
        this.#now = end;
        return undefined;
      }
      this.#pop();
      this.#now = event.at;
      const { owner, run } = event;
      if (run === undefined || owner?.alive === false) continue;
      if (owner !== undefined && owner.pausedUntil > event.at) {
        this.#push({ ...event, at: owner.pausedUntil, run });
        continue;
      }
      return run;
    }
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let at = heap.push(event) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(event, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = event;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }
}

function before(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.sequence < b.sequence);
}

/** A process's clock: runs at `rate` of true time; its wall clock may jump. */
export class SimClock implements Clock {
  readonly #schedule: Schedule;
  readonly #process: Process;
  #rate: number;
  #since: Millis;
  #monotonic: Millis = 0;
  #wall: Millis = 1_700_000_000_000;

  constructor(schedule: Schedule, process: Process, rate: number) {
    this.#schedule = schedule;
    this.#process = process;
    this.#rate = rate;
    this.#since = schedule.now;
  }

  set rate(rate: number) {
    this.#monotonic = this.monotonic();
    this.#since = this.#schedule.now;
    this.#rate = rate;
  }

  jump(ms: Millis): void {
    this.#wall += ms;
  }

  now(): Millis {
    return Math.round(this.#wall + this.monotonic());
  }

  monotonic(): Millis {
    return this.#monotonic + (this.#schedule.now - this.#since) * this.#rate;
  }

  setTimer(delayMs: Millis, fire: () => void): Timer {
    return this.#schedule.after(delayMs / this.#rate, this.#process, fire);
  }

  sleep(delayMs: Millis, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const onAbort = () => {
        timer.cancel();
        reject(signal?.reason);
      };
      const timer = this.setTimer(delayMs, () => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      });
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }
}
