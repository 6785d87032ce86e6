/** The rest of `source`, until the signal aborts: then its reason is thrown, even while a value is awaited. */
export async function* untilAborted<T>(source: AsyncIterator<T>, signal: AbortSignal): AsyncGenerator<T> {
  try {
    for (;;) {
      const next = await nextUnlessAborted(source, signal);
      if (next.done) return;
      yield next.value;
    }
  } finally {
    // Not awaited: it may wait for something that comes no more.
    void Promise.resolve(source.return?.()).catch(() => undefined);
  }
}

/** The next value of `source`; rejects with the signal's reason when it aborts first. Leaves no listener behind. */
export function nextUnlessAborted<T>(source: AsyncIterator<T>, signal: AbortSignal): Promise<IteratorResult<T>> {
  return unlessAborted(source.next(), signal);
}

/** What `promise` gives; rejects with the signal's reason when it aborts first. Leaves no listener behind. */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
