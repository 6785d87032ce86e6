import { type Clock, type Random, SwarmError } from "@starling/base";
import { type ConfChange, ErrProposalDropped } from "raft-ts";
import type { MembershipChange } from "./membership/membership.ts";
import { random64 } from "./proposals.ts";

const timeoutMs = 10_000;

/** Membership changes that this leader has proposed, by the id in them. */
export class ConfigChanges {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #waiting = new Map<bigint, PromiseWithResolvers<void>>();

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  /** Hands the change to `append`; resolves when it is applied here. Rejects Unavailable after 10 s: outcome unknown. */
  async propose(change: ConfChange, append: (change: ConfChange) => void): Promise<void> {
    const id = random64(this.#random);
    const done = Promise.withResolvers<void>();
    this.#waiting.set(id, done);
    const timer = this.#clock.setTimer(timeoutMs, () => {
      done.reject(new SwarmError("Unavailable", "membership change was not committed in time: outcome unknown"));
    });
    try {
      append({ ...change, id });
      await done.promise;
    } catch (thrown) {
      if (thrown !== ErrProposalDropped) throw thrown;
      throw new SwarmError("Unavailable", "raft does not take membership changes now: try again");
    } finally {
      timer.cancel();
      this.#waiting.delete(id);
    }
  }

  /** A change was applied, or refused. */
  applied(change: ConfChange, result: MembershipChange): void {
    const waiting = change.id === undefined ? undefined : this.#waiting.get(change.id);
    if (result.t === "refused") waiting?.reject(new SwarmError("FailedPrecondition", result.explain));
    else waiting?.resolve();
  }

  abandon(reason: SwarmError): void {
    for (const { reject } of this.#waiting.values()) reject(reason);
  }
}
