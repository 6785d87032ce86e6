/** Passes that may be under way at once: so many slices come between two turns of the event loop at most. */
const passesMax = 3;

/**
 * Passes under way: one a service, a few in all, so that a service of very many tasks does not hold up the others, and none
 * waits for the commits of another.
 */
export class Passes {
  readonly #pass: (serviceId: string) => Promise<void>;
  readonly #repeat: (serviceId: string) => void;
  readonly #running = new Map<string, Promise<void>>();
  /** Services that were asked for while theirs was under way. */
  readonly #again = new Set<string>();

  /** `repeat` is told of a service that was asked for during its pass, when that has ended. */
  constructor(options: {
    readonly pass: (serviceId: string) => Promise<void>;
    readonly repeat: (serviceId: string) => void;
  }) {
    this.#pass = options.pass;
    this.#repeat = options.repeat;
  }

  /** Resolves when the pass has begun; rejects as one under way does. */
  async begin(serviceId: string): Promise<void> {
    if (this.#running.has(serviceId)) {
      this.#again.add(serviceId);
      return;
    }
    while (this.#running.size >= passesMax) await Promise.race(this.#running.values());
    const running = this.#run(serviceId);
    running.catch(() => {}); // Awaited by the next call, or by `ended`.
    this.#running.set(serviceId, running);
  }

  /** Resolves when those under way have ended; rejects as one of them does. */
  async ended(): Promise<void> {
    await Promise.all(this.#running.values());
  }

  async #run(serviceId: string): Promise<void> {
    await this.#pass(serviceId);
    this.#running.delete(serviceId);
    if (this.#again.delete(serviceId)) this.#repeat(serviceId);
  }
}
