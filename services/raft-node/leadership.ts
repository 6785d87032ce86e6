import { type Logger, SwarmError } from "@starling/base";
import { None, type SoftState, StateType, stateTypeName } from "raft-ts";
import { leaderChanges, leaderGauge } from "./raft-metrics.ts";

export interface LeadershipOptions {
  readonly log: Logger;
  /** Leadership begins: everything committed before is applied. */
  readonly gained: () => void;
  /** Leadership that was signalled ends: what is in flight has an unknown outcome. */
  readonly lost: (reason: SwarmError) => void;
  /** Another leader, or none. */
  readonly leaderChanged: () => void;
}

/**
 * Who leads, as the node signals it. This node's own leadership has three states: not leading (raft says so); elected
 * (raft's leader in `term`, entries of earlier terms not applied yet); leading (an entry of its own term is applied:
 * proposals are taken). Only raft's word or `lose` leads back to not leading.
 */
export class Leadership {
  readonly #options: LeadershipOptions;
  #soft: SoftState = { lead: None, raftState: StateType.StateFollower };
  #electedTerm: number | undefined;
  #leading = false;

  constructor(options: LeadershipOptions) {
    this.#options = options;
  }

  /** Raft id of the leader; 0 while none is known. */
  get leaderId(): bigint {
    return this.#soft.lead;
  }

  get state(): StateType {
    return this.#soft.raftState;
  }

  get elected(): boolean {
    return this.#electedTerm !== undefined;
  }

  get leading(): boolean {
    return this.#leading;
  }

  /** Raft's role or leader changed; `term` is raft's term now. */
  onSoftState(state: SoftState, term: number): void {
    const changed = state.lead !== this.#soft.lead;
    this.#soft = state;
    const leads = state.raftState === StateType.StateLeader;
    if (!leads) this.lose(lostLeadership());
    this.#electedTerm = leads ? term : undefined;
    if (!changed) return;
    leaderChanges.inc();
    const role = stateTypeName(state.raftState);
    this.#options.log.info("raft leader changed", { leader: state.lead.toString(16), term, role });
    this.#options.leaderChanged();
  }

  /** Raft's term changed. Leadership may have been lost and won again between two looks. */
  onTerm(term: number): void {
    if (this.#electedTerm === undefined || this.#electedTerm === term) return;
    this.lose(lostLeadership());
    this.#electedTerm = term;
  }

  /** Everything handed over is applied; the last entry was of `term`. */
  onApplied(term: number): void {
    if (this.#leading || this.#electedTerm !== term) return;
    this.#leading = true;
    leaderGauge.set(1);
    this.#options.log.info("raft leadership taken", { term });
    this.#options.gained();
  }

  lose(reason: SwarmError): void {
    const was = this.#leading;
    this.#electedTerm = undefined;
    this.#leading = false;
    if (!was) return;
    leaderGauge.set(0);
    this.#options.lost(reason);
  }
}

function lostLeadership(): SwarmError {
  return new SwarmError("Unavailable", "raft leadership is lost: outcome unknown");
}
