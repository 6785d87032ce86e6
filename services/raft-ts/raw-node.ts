/** Pure: no clock, no I/O, no randomness. */
import type { Config } from "./config.ts";
import type { BasicStatus, Status } from "./status.ts";
import type { AnyConfChange, ConfState, Message, Peer, Ready, SnapshotStatus } from "./types.ts";

function pending(..._: unknown[]): never {
  throw new Error("raft-ts: being written");
}

/**
 * A raft node without threads, clock or I/O: the host ticks it, steps messages into it and handles its Ready.
 * @throws RaftError from the constructor when the config is refused.
 */
export class RawNode {
  constructor(config: Config) {
    pending(config);
  }
  /** First start with an empty storage: append one conf change per peer, already committed. Storage that starts with a snapshot holding the ConfState is the better way. */
  bootstrap(peers: readonly Peer[]): void {
    pending(peers);
  }
  /** One tick of the logical clock. */
  tick(): void {
    pending();
  }
  /** Start an election now. */
  campaign(): void {
    pending();
  }
  /** @throws ErrProposalDropped */
  propose(data: Uint8Array): void {
    pending(data);
  }
  /** @throws ErrProposalDropped. A change that is refused by validation is committed as an empty normal entry. */
  proposeConfChange(change: AnyConfChange): void {
    pending(change);
  }
  /** To be called for every committed conf change that the host does not reject. Returns the membership to store in snapshots. */
  applyConfChange(change: AnyConfChange): ConfState {
    return pending(change);
  }
  /** A message arrived. @throws ErrStepLocalMsg | ErrStepPeerNotFound | ErrProposalDropped */
  step(message: Message): void {
    pending(message);
  }
  /** The work at hand; it counts as accepted. */
  ready(): Ready {
    return pending();
  }
  hasReady(): boolean {
    return pending();
  }
  /** The last Ready is handled. Never with asyncStorageWrites. */
  advance(): void {
    pending();
  }
  status(): Status {
    return pending();
  }
  basicStatus(): BasicStatus {
    return pending();
  }
  /** Hand leadership over (Raft thesis §3.10). */
  transferLeader(transferee: bigint): void {
    pending(transferee);
  }
  /** A follower forgets its leader, so that it may vote at once. */
  forgetLeader(): void {
    pending();
  }
  /** Ask for a ReadState; it arrives in a Ready with the same context. May be lost: ask again after a while. */
  readIndex(context: Uint8Array): void {
    pending(context);
  }
  /** The last message to `id` could not be sent. */
  reportUnreachable(id: bigint): void {
    pending(id);
  }
  /** How sending MsgSnap to `id` ended. Must be called for each. */
  reportSnapshot(id: bigint, status: SnapshotStatus): void {
    pending(id, status);
  }
}
