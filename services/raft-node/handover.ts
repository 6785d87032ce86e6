import { type Clock, type Logger, type Millis, SwarmError } from "@starling/base";
import { None } from "raft-ts";
import type { Driver } from "./driver.ts";
import type { Leadership } from "./leadership.ts";

export interface HandoverOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly leadership: Leadership;
  readonly self: () => bigint;
  readonly reachable: (raftId: bigint) => boolean;
  /** Throws Unavailable unless raft runs. */
  readonly driver: () => Driver;
}

const pollMs: Millis = 5;

/** Hands leadership to another member (Raft thesis §3.10): when asked to, and when the log's disk stalls. */
export class Handover {
  readonly #options: HandoverOptions;

  constructor(options: HandoverOptions) {
    this.#options = options;
  }

  /** Resolves when another leads. Rejects FailedPrecondition when nobody can be reached, DeadlineExceeded after `timeoutMs`. */
  async transfer(timeoutMs: Millis): Promise<void> {
    const { clock, leadership, self, driver } = this.#options;
    const heir = this.#heir();
    if (heir === undefined) throw new SwarmError("FailedPrecondition", "no other member is reachable to lead");
    driver().raw.transferLeader(heir);
    driver().schedule();
    for (const deadline = clock.monotonic() + timeoutMs; clock.monotonic() < deadline; ) {
      await clock.sleep(pollMs);
      const { leaderId } = leadership;
      if (leaderId !== self() && leaderId !== None) return;
    }
    throw new SwarmError("DeadlineExceeded", `raft member ${heir.toString(16)} did not take over in ${timeoutMs} ms`);
  }

  /** With each tick: a leader whose write takes longer than the election timeout is in the group's way. */
  maybeForSlowDisk(): void {
    const { leadership, log } = this.#options;
    const { raw, append, electionTimeoutMs } = this.#options.driver();
    if (!leadership.leading || append.busyMs < electionTimeoutMs || raw.basicStatus().leadTransferee !== None) return;
    const heir = this.#heir();
    if (heir === undefined) return;
    log.warn("raft: the log's disk stalls, handing leadership over", { ms: Math.round(append.busyMs) });
    raw.transferLeader(heir);
  }

  /** The reachable voter whose log is longest. */
  #heir(): bigint | undefined {
    const { self, reachable, driver } = this.#options;
    const { progress } = driver().raw.status();
    const candidates = [...progress].filter(([id, pr]) => id !== self() && !pr.isLearner && reachable(id));
    return candidates.sort(([, a], [, b]) => b.match - a.match)[0]?.[0];
  }
}
