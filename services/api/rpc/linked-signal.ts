/** A signal that aborts with the first of others, and can be let go of. */
export interface LinkedSignal {
  readonly signal: AbortSignal;
  /** Ends the link. To be called when whoever listens is done. */
  release(): void;
}

/**
 * As AbortSignal.any, for a short-lived use of a long-lived signal: what AbortSignal.any makes, and all that its listeners
 * hold, stays in memory until one of the sources aborts if a single listener is not removed.
 */
export function linkSignals(...sources: readonly AbortSignal[]): LinkedSignal {
  const abort = new AbortController();
  const release = () => {
    for (const source of sources) source.removeEventListener("abort", onAbort);
  };
  const onAbort = () => {
    release();
    abort.abort(sources.find(({ aborted }) => aborted)?.reason);
  };
  for (const source of sources) source.addEventListener("abort", onAbort, { once: true });
  if (sources.some(({ aborted }) => aborted)) onAbort();
  return { signal: abort.signal, release };
}
