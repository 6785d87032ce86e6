/**
 * Runs one piece of work at a time. A caller who comes while it runs waits for the next run, which starts after it and so
 * sees what the caller changed; all who wait share that run.
 */
export class Turn<T> {
  readonly #work: () => Promise<T>;
  #running: Promise<T> | undefined;
  #next: Promise<T> | undefined;

  constructor(work: () => Promise<T>) {
    this.#work = work;
  }

  run(): Promise<T> {
    if (this.#next !== undefined) return this.#next;
    if (this.#running === undefined) return this.#start();
    this.#next = this.#running.then(
      () => this.#start(),
      () => this.#start(),
    );
    return this.#next;
  }

  /** Resolves when nothing runs. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running.catch(() => {});
  }

  #start(): Promise<T> {
    this.#next = undefined;
    // Not before `#running` is set: the work itself may ask for a further run.
    const running = Promise.resolve()
      .then(() => this.#work())
      .finally(() => {
        if (this.#running === running) this.#running = undefined;
      });
    this.#running = running;
    return running;
  }
}
