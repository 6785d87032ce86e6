import { ClusterSnapshot, InternalRaftRequest, type StoreSnapshot } from "@starling/api";
import { assert, type Logger, SwarmError } from "@starling/base";
import type { StateMachine, StateRestore } from "@starling/store";
import {
  type ConfChange,
  type ConfState,
  decodeConfChange,
  type Entry,
  EntryType,
  emptyConfState,
  type SnapshotMetadata,
} from "raft-ts";
import { Membership, type MembershipChange } from "./membership/membership.ts";
import type { Proposals } from "./proposals.ts";
import { decodeSnapshot } from "./snapshot-store/decode-snapshot.ts";
import type { LoadedSnapshot } from "./snapshot-store/snapshot-store.ts";

export interface ReplicaOptions {
  readonly stateMachine: StateMachine;
  readonly proposals: Proposals;
  readonly log: Logger;
  /** Makes raft use a membership that was just committed. */
  readonly configure: (change: ConfChange) => ConfState;
  /** A committed membership change took effect, or was refused by the rules of membership. */
  readonly membershipChanged: (change: ConfChange, result: MembershipChange) => void;
}

/** The replicated state as far as it is applied here: the store's, and the membership. */
export class Replica {
  readonly membership = new Membership();
  readonly #options: ReplicaOptions;
  #confState: ConfState = emptyConfState;
  #applied = 0;
  #appliedTerm = 0;

  constructor(options: ReplicaOptions) {
    this.#options = options;
  }

  /** Index of the last applied entry. */
  get applied(): number {
    return this.#applied;
  }

  /** The committed configuration: who votes, who learns. */
  get confState(): ConfState {
    return this.#confState;
  }

  get appliedTerm(): number {
    return this.#appliedTerm;
  }

  /** Applies the next committed entry. Throws, naming it, when it cannot: replicas must not differ. */
  apply(entry: Entry): void {
    const { index, term, type, data } = entry;
    assert(index === this.#applied + 1, () => `raft applies entry ${index} after ${this.#applied}`);
    try {
      if (type !== EntryType.EntryNormal) this.#applyConfChange(entry);
      else if (data.length > 0 && !this.#options.proposals.maybeApply(data, index)) {
        this.#options.stateMachine.applyActions(InternalRaftRequest.decode(data).action, index);
      }
    } catch (cause) {
      throw new Error(`raft entry ${index} of term ${term} cannot be applied: ${(cause as Error).message}`, { cause });
    }
    this.#options.stateMachine.reached(index);
    this.#applied = index;
    this.#appliedTerm = term;
  }

  /**
   * Takes over a snapshot's state, at the end; `pause` is awaited between pieces of work of some milliseconds. REQUIRES:
   * nothing is applied meanwhile. Rejects DataLoss, and nothing is changed, when it is no snapshot.
   */
  async restore({ metadata, chunks }: LoadedSnapshot, pause: () => Promise<void>): Promise<void> {
    const state = this.#options.stateMachine.beginRestore(metadata.index);
    let membership: ClusterSnapshot | undefined;
    for (const part of decodeSnapshot(chunks)) {
      if (part.t === "membership") membership = part.membership;
      else addPart(state, part.store);
      await pause();
    }
    await state.finish(pause);
    this.membership.restore(membership ?? ClusterSnapshot.create());
    this.#confState = metadata.confState;
    this.#applied = metadata.index;
    this.#appliedTerm = metadata.term;
  }

  /** Everything that a snapshot at this moment holds. */
  view() {
    const metadata: SnapshotMetadata = { confState: this.#confState, index: this.#applied, term: this.#appliedTerm };
    return { metadata, membership: this.membership.snapshot(), store: this.#options.stateMachine.snapshotParts() };
  }

  #applyConfChange({ index, type, data }: Entry): void {
    if (type === EntryType.EntryConfChangeV2) throw new Error("a ConfChangeV2 is never proposed here");
    const change = decodeConfChange(data);
    const result = this.membership.apply(change);
    if (result.t === "refused") {
      this.#options.log.warn("raft membership change refused", { index, explain: result.explain });
    } else {
      this.#confState = this.#options.configure(change);
      const { raftId, nodeId, addr } = result.member;
      this.#options.log.info(`raft member ${result.t}`, { "raft.peer": raftId.toString(16), "node.id": nodeId, addr });
    }
    this.#options.membershipChanged(change, result);
  }
}

function addPart(state: StateRestore, part: StoreSnapshot): void {
  try {
    state.add(part);
  } catch (cause) {
    throw new SwarmError("DataLoss", `raft snapshot cannot be restored: ${(cause as Error).message}`, { cause });
  }
}
