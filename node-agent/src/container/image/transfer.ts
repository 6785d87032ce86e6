import { once } from "node:events";
import type { Readable, Writable } from "node:stream";
import { type Clock, type Millis, SwarmError } from "@starling/base";
import { BadImageError } from "@starling/registry";

/** Tries in a row that bring next to nothing. */
const attemptsMax = 5;
const progressBytes = 64 << 10;
const firstPauseMs: Millis = 500;
const pauseMaxMs: Millis = 8_000;

/** Opens a blob's bytes from `offset` on. */
export type OpenBlob = (offset: number, signal: AbortSignal) => Promise<Readable>;

/**
 * Writes a blob's bytes from `offset` to its end into `into`, going on where a connection broke. Throws Unavailable when
 * several tries in a row bring next to nothing, and what is final at once.
 */
export async function transferBlob(
  open: OpenBlob,
  options: {
    readonly into: Writable;
    readonly offset: number;
    readonly size: number;
    readonly clock: Clock;
    readonly signal: AbortSignal;
    readonly onBytes: (count: number) => void;
  },
): Promise<void> {
  const { into, size, signal, clock } = options;
  let at = options.offset;
  let idle = 0;
  let lastFault: unknown;
  while (at < size) {
    const before = at;
    try {
      for await (const chunk of (await open(at, signal)) as AsyncIterable<Buffer>) {
        at += chunk.length;
        options.onBytes(chunk.length);
        if (!into.write(chunk)) await once(into, "drain", { signal });
        // More than the manifest says: whoever reads `into` refuses it.
        if (at > size) return;
      }
    } catch (error) {
      signal.throwIfAborted();
      if (isFinal(error)) throw error;
      lastFault = error;
    }
    if (at >= size) return;
    idle = at >= before + progressBytes ? 1 : idle + 1;
    if (idle === attemptsMax) {
      if (lastFault instanceof SwarmError) throw lastFault;
      throw new SwarmError(
        "Unavailable",
        `download ended at ${at} of ${size} bytes: ${lastFault === undefined ? "the registry gave no more" : SwarmError.from(lastFault).message}`,
      );
    }
    await clock.sleep(pauseMs(idle), signal);
  }
}

/** Repeats what failed for now; what is final is thrown at once. */
export async function withRetries<T>(
  attempt: () => Promise<T>,
  options: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<T> {
  for (let count = 1; ; count++) {
    try {
      return await attempt();
    } catch (error) {
      options.signal.throwIfAborted();
      if (isFinal(error)) throw error;
      if (count === attemptsMax) {
        throw error instanceof SwarmError ? error : new SwarmError("Unavailable", SwarmError.from(error).message);
      }
      await options.clock.sleep(pauseMs(count), options.signal);
    }
  }
}

/** Trying again would not help. */
function isFinal(error: unknown): boolean {
  const isDenied = error instanceof SwarmError && (error.code === "NotFound" || error.code === "PermissionDenied");
  return isDenied || error instanceof BadImageError;
}

function pauseMs(count: number): Millis {
  return Math.min(pauseMaxMs, firstPauseMs * 2 ** (count - 1));
}
