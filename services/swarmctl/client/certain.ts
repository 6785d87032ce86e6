import type { Meta } from "@starling/api";
import type { Clock, Millis } from "@starling/base/clock";
import { SwarmError } from "@starling/base/errors";

/** How long we try to learn what became of a write. */
const patienceMs: Millis = 30_000;
const pauseMinMs: Millis = 100;
const pauseMaxMs: Millis = 1_000;
/** Tries before we say that someone else keeps changing the object. */
const conflictsMax = 10;

/** What writing needs of a command's context. */
export interface Surroundings {
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/**
 * The managers' answer was lost, e.g. with their leader: the call may have had its effect, or may not. Not so for a
 * socket that nobody listens on, nor for managers that have no leader.
 */
export function isUncertain({ code, message }: SwarmError): boolean {
  if (code === "DeadlineExceeded" || code === "Aborted") return true;
  if (code === "ResourceExhausted") return message.includes("is not the leader: try again");
  if (code !== "Unavailable") return false;
  return !message.startsWith("cannot reach the Swarm manager") && !message.includes("does not have a leader");
}

/**
 * Reads an object, writes it changed; anew when another write came between. When an answer is lost it looks whether the
 * object is what was written, and else writes again: versions make sure that it happens once.
 *
 * `isDone`: whether `present` is what writing on `base` led to.
 */
export async function changeOnce<T extends { readonly meta: Meta }>(
  surroundings: Surroundings,
  steps: {
    read(): Promise<T>;
    write(present: T): Promise<T>;
    isDone(present: T, base: T): boolean;
  },
): Promise<T> {
  const retrying = new Retrying(surroundings);
  let unanswered: T | undefined;
  let conflicts = 0;
  for (;;) {
    const present = await steps.read();
    if (unanswered && steps.isDone(present, unanswered)) return present;
    try {
      return await steps.write(present);
    } catch (thrown) {
      const error = SwarmError.from(thrown);
      if (error.message.includes("update out of sequence")) {
        if (++conflicts === conflictsMax) throw error;
      } else if (isUncertain(error)) {
        unanswered = present;
        await retrying.pause(error);
      } else throw error;
    }
  }
}

/** Creates an object with a name that only one may have. When an answer is lost it looks for the object by its name. */
export async function createOnce<T>(
  surroundings: Surroundings,
  steps: {
    create(): Promise<T>;
    find(): Promise<T | undefined>;
    /** Whether the object of that name is the one that was to be created. */
    isOurs(found: T): Promise<boolean> | boolean;
  },
): Promise<T> {
  const retrying = new Retrying(surroundings);
  for (;;) {
    try {
      return await steps.create();
    } catch (thrown) {
      const error = SwarmError.from(thrown);
      if (isUncertain(error)) await retrying.pause(error);
      else if (error.code !== "AlreadyExists" || !retrying.began) throw error;
      const found = await steps.find();
      if (found !== undefined && (await steps.isOurs(found))) return found;
      if (error.code === "AlreadyExists") throw error;
    }
  }
}

/** Removes an object. When an answer is lost it removes again; that it is gone by then is fine. */
export async function removeOnce(surroundings: Surroundings, remove: () => Promise<unknown>): Promise<void> {
  const retrying = new Retrying(surroundings);
  for (;;) {
    try {
      await remove();
      return;
    } catch (thrown) {
      const error = SwarmError.from(thrown);
      if (isUncertain(error)) await retrying.pause(error);
      else if (error.code === "NotFound" && retrying.began) return;
      else throw error;
    }
  }
}

/** Asks again for as long as answers are lost. Only for calls that change nothing. */
export async function readSurely<T>(surroundings: Surroundings, read: () => Promise<T>): Promise<T> {
  const retrying = new Retrying(surroundings);
  for (;;) {
    try {
      return await read();
    } catch (thrown) {
      const error = SwarmError.from(thrown);
      if (!isUncertain(error) || error.code === "DeadlineExceeded") throw error;
      await retrying.pause(error);
    }
  }
}

/** Pauses that grow, for a limited time from the first. */
class Retrying {
  readonly #surroundings: Surroundings;
  #untilMs: Millis | undefined;
  #pauseMs = pauseMinMs;

  constructor(surroundings: Surroundings) {
    this.#surroundings = surroundings;
  }

  get began(): boolean {
    return this.#untilMs !== undefined;
  }

  /** Throws, with what is and what is not known, when the time is over. */
  async pause(error: SwarmError): Promise<void> {
    const { clock, signal } = this.#surroundings;
    this.#untilMs ??= clock.monotonic() + patienceMs;
    if (clock.monotonic() >= this.#untilMs) {
      const hint = "whether it took effect is not known; look, then try again";
      throw new SwarmError(error.code, `${error.message} (${hint})`, { cause: error });
    }
    await clock.sleep(this.#pauseMs, signal);
    this.#pauseMs = Math.min(pauseMaxMs, this.#pauseMs * 2);
  }
}
