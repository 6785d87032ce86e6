/**
 * One source for several readers that keep step: each chunk is read when all who are left have taken the last one, so none
 * of them is far behind and nothing piles up. A reader that leaves holds nobody back.
 */
export class FanOut<T> {
  readonly #source: AsyncIterator<T>;
  readonly #readers = new Set<object>();
  #round: Round<T>;

  constructor(source: AsyncIterable<T>) {
    this.#source = source[Symbol.asyncIterator]();
    this.#round = new Round(this.#source);
  }

  /** All readers are to be made before the first one reads. `leave` is to be called by who reads no further. */
  reader(): { readonly chunks: AsyncIterable<T>; leave(): void } {
    const self = {};
    this.#readers.add(self);
    return {
      chunks: this.#read(self),
      leave: () => {
        if (this.#readers.delete(self)) this.#maybeGoOn();
      },
    };
  }

  async *#read(self: object): AsyncGenerator<T> {
    for (;;) {
      const round = this.#round;
      const { done, value } = await round.chunk();
      if (done) return;
      yield value;
      round.takenBy.add(self);
      this.#maybeGoOn();
      await round.over.promise;
    }
  }

  #maybeGoOn(): void {
    const round = this.#round;
    for (const reader of this.#readers) if (!round.takenBy.has(reader)) return;
    if (this.#readers.size > 0) this.#round = new Round(this.#source);
    // Nobody is left. Not awaited: the source may wait for input that does not come.
    else void Promise.resolve(this.#source.return?.()).catch(() => undefined);
    round.over.resolve();
  }
}

/** One chunk, read when the first reader asks for it, and who has taken it. */
class Round<T> {
  readonly takenBy = new Set<object>();
  readonly over = Promise.withResolvers<void>();
  readonly #source: AsyncIterator<T>;
  #chunk: Promise<IteratorResult<T>> | undefined;

  constructor(source: AsyncIterator<T>) {
    this.#source = source;
  }

  chunk(): Promise<IteratorResult<T>> {
    this.#chunk ??= this.#source.next();
    return this.#chunk;
  }
}
