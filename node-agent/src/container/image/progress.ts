import type { Clock, Millis } from "@starling/base";

/** Told what a task's status says while it waits for its image: "pulling 40 %". */
export type OnProgress = (message: string) => void;

/** Each report becomes a write of the managers' log: few suffice. */
const reportPeriodMs: Millis = 2_000;
const reportStepPercent = 10;

/** Counts the bytes of a pull, and tells whoever listens: at most every two seconds, ten percent apart. */
export class PullProgress {
  readonly #clock: Clock;
  readonly #listeners = new Set<OnProgress>();
  #total = 0;
  #done = 0;
  #toldPercent = 0;
  #toldAtMs: Millis;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#toldAtMs = clock.monotonic();
  }

  /** Until the returned function is called. */
  listen(onProgress: OnProgress): () => void {
    this.#listeners.add(onProgress);
    return () => this.#listeners.delete(onProgress);
  }

  /** Bytes that are to come. */
  expect(bytes: number): void {
    this.#total += bytes;
  }

  /** Bytes that came, or were here; negative when they have to come again. */
  add(bytes: number): void {
    this.#done += bytes;
    const percent = this.#total === 0 ? 0 : Math.floor((Math.min(this.#done, this.#total) / this.#total) * 100);
    const nowMs = this.#clock.monotonic();
    if (percent < this.#toldPercent + reportStepPercent || nowMs < this.#toldAtMs + reportPeriodMs) return;
    this.#toldPercent = percent;
    this.#toldAtMs = nowMs;
    for (const tell of this.#listeners) tell(`pulling ${percent} %`);
  }
}
