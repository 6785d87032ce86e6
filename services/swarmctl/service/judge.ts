/** Pure: no clock, no I/O, no randomness. */

import type { Assessment } from "./assess.ts";

/** Converged for this long counts as stable. */
const stableMs = 1_000;
/** A slot whose last task ended and was not replaced for this long will stay so. */
const deadMs = 2_000;

export type Judgement =
  | { readonly t: "wait" }
  | { readonly t: "converged" }
  | { readonly t: "failed"; readonly reason: string };

const wait: Judgement = { t: "wait" };

/** Turns what single looks saw into an end of the waiting. Times are monotonic milliseconds. */
export class Judge {
  /** Since when all looks found the service converged. */
  #convergedSinceMs: number | undefined;
  /** Since when all looks found a dead slot. */
  #deadSinceMs: number | undefined;

  /** `assessment` is undefined when nothing could be seen: then nothing is held against the service. */
  judge(assessment: Assessment | undefined, nowMs: number): Judgement {
    const { verdict, reason = "", slots = [] } = assessment ?? {};
    if (verdict === "failed") return { t: "failed", reason };
    this.#convergedSinceMs = verdict === "converged" ? (this.#convergedSinceMs ?? nowMs) : undefined;
    if (this.#convergedSinceMs !== undefined && nowMs - this.#convergedSinceMs >= stableMs) return { t: "converged" };
    const dead = verdict === "going" ? slots.find((slot) => slot.dead) : undefined;
    this.#deadSinceMs = dead ? (this.#deadSinceMs ?? nowMs) : undefined;
    if (dead === undefined || nowMs - this.#deadSinceMs! < deadMs) return wait;
    return { t: "failed", reason: `task ${dead.name} ended and is not restarted: ${dead.error || dead.state}` };
  }
}
