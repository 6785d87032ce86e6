/** Between two sweeps. One takes about a millisecond, and what 8 MiB of a stream leave behind is twice that. */
const sweepBytes = 8 << 20;

/**
 * Has the buffers of streams freed that have passed through. They lie outside V8's heap, which counts little of them: it
 * lets 60 MB of dead ones pile up before it looks. Where Node runs without --expose-gc, that is what happens.
 */
export class DeadBuffers {
  #bytes = 0;

  /** Told of bytes that were read from one stream and written to another. */
  passed(count: number): void {
    this.#bytes += count;
    if (this.#bytes < sweepBytes) return;
    this.#bytes = 0;
    globalThis.gc?.({ type: "minor", execution: "sync" });
  }
}
