import type { Writable } from "node:stream";

/**
 * Writes every message of `source` to `sink`, waiting whenever its buffer is full, so that a slow peer holds the source
 * back instead of growing memory. Returns when the source ends or the signal aborts.
 */
export async function writeAll(
  sink: Pick<Writable, "write" | "once" | "off">,
  source: AsyncIterable<unknown>,
  signal: AbortSignal,
): Promise<void> {
  const iterator = source[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await unlessAborted(iterator.next(), signal);
      if (next === undefined || next.done) return;
      if (!sink.write(next.value)) await unlessAborted(drained(sink), signal);
      if (signal.aborted) return;
    }
  } finally {
    // Not awaited: a generator that waits for its own signal ends by itself, and must not hold up the call's end.
    void Promise.resolve(iterator.return?.()).catch(() => undefined);
  }
}

function drained(sink: Pick<Writable, "once">): Promise<void> {
  return new Promise((resolve) => sink.once("drain", resolve));
}

/** `promise`, or undefined as soon as the signal aborts. Leaves no listener behind, however long the signal lives. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const onAbort = () => resolve(undefined);
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
