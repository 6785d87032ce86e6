import type { Clock, Millis } from "@starling/base";

/** Managers repeat a grant with every blob of the image that they send someone here for. */
const lifeMs: Millis = 10 * 60_000;
const grantsMax = 100_000;

/** Which nodes may have blobs of which images from this one: the managers' word, for a while. */
export class Grants {
  readonly #clock: Clock;
  /** When it ends, by image and node; oldest first. */
  readonly #until = new Map<string, Millis>();
  readonly #waiting = new Set<() => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Digests are hexadecimal digits. */
  allow(nodeId: string, image: string): void {
    const key = `${image} ${nodeId}`;
    this.#until.delete(key);
    this.#until.set(key, this.#clock.monotonic() + lifeMs);
    const oldest = this.#until.keys().next().value;
    if (this.#until.size > grantsMax && oldest !== undefined) this.#until.delete(oldest);
    for (const wake of [...this.#waiting]) wake();
  }

  /** Waits for a grant that is on its way: who asks may have been told before we were. */
  async has(nodeId: string, image: string, patienceMs: Millis): Promise<boolean> {
    const deadline = this.#clock.monotonic() + patienceMs;
    for (;;) {
      const nowMs = this.#clock.monotonic();
      if ((this.#until.get(`${image} ${nodeId}`) ?? 0) > nowMs) return true;
      if (nowMs >= deadline) return false;
      await new Promise<void>((resolve) => {
        const settle = () => {
          this.#waiting.delete(settle);
          timer.cancel();
          resolve();
        };
        const timer = this.#clock.setTimer(deadline - nowMs, settle);
        this.#waiting.add(settle);
      });
    }
  }
}
