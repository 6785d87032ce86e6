/** A signal that aborts with the first of others, and can be let go of. */
export interface LinkedSignal {
  readonly signal: AbortSignal;
  /** Ends the link. To be called when whoever listens is done. */
  release(): void;
}

/**
 * What follows each signal. Node goes through all listeners of a signal to add or remove one, and the calls of all nodes
 * follow that of the leadership: so a signal gets one listener, and those behind it are a set.
 */
const followers = new WeakMap<AbortSignal, Followers>();

class Followers extends Set<() => void> {
  readonly tell = () => this.forEach((follower) => void follower());
}

function follow(source: AbortSignal, follower: () => void): void {
  const all = followers.get(source) ?? new Followers();
  if (all.size === 0) {
    followers.set(source, all);
    source.addEventListener("abort", all.tell, { once: true });
  }
  all.add(follower);
}

function unfollow(source: AbortSignal, follower: () => void): void {
  const all = followers.get(source);
  if (!all?.delete(follower) || all.size > 0) return;
  followers.delete(source);
  source.removeEventListener("abort", all.tell);
}

/**
 * As AbortSignal.any, for a short-lived use of a long-lived signal: what AbortSignal.any makes, and all that its listeners
 * hold, stays in memory until one of the sources aborts if a single listener is not removed.
 */
export function linkSignals(...sources: readonly AbortSignal[]): LinkedSignal {
  const abort = new AbortController();
  const release = () => {
    for (const source of sources) unfollow(source, onAbort);
  };
  const onAbort = () => {
    release();
    abort.abort(sources.find(({ aborted }) => aborted)?.reason);
  };
  for (const source of sources) follow(source, onAbort);
  if (sources.some(({ aborted }) => aborted)) onAbort();
  return { signal: abort.signal, release };
}
