import type { Logger } from "@starling/base";
import { type ConntrackStep, runSteps } from "@starling/native/net";
import { type FlushDue, joinDue } from "./flush.ts";

/** Which tracked connections are still to be looked at, and who does. */
export class Flusher {
  readonly #log: Logger;
  readonly #onRefused: () => void;
  #due: FlushDue = "all";

  /** `onRefused`: the kernel did not do it, so that all are to be looked at another time. */
  constructor(log: Logger, onRefused: () => void) {
    this.#log = log;
    this.#onRefused = onRefused;
  }

  add(due: FlushDue): void {
    this.#due = joinDue(this.#due, due);
  }

  take(): FlushDue {
    const due = this.#due;
    this.#due = [];
    return due;
  }

  /** Forgets tracked connections of a namespace; whether it was done. */
  async flush(netns: string | undefined, steps: readonly ConntrackStep[]): Promise<boolean> {
    if (steps.length === 0) return true;
    try {
      await runSteps(netns, steps);
      return true;
    } catch (error) {
      this.#log.warn("tracked connections could not be looked at", { error });
      this.#due = "all";
      this.#onRefused();
      return false;
    }
  }
}
