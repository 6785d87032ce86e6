/** Pure: no clock, no I/O, no randomness. */
import { type JointConfig, jointCommittedIndex } from "./quorum/joint.ts";
import type { Message, ReadOnlyOption } from "./types.ts";

/** A read that waits for proof that this node still leads. */
export interface PendingRead {
  /** The MsgReadIndex, from this node or from a follower. */
  readonly request: Message;
  /** Commit index when it arrived. */
  readonly index: number;
}

/**
 * Reads waiting for a round of heartbeats (Raft thesis §6.4). Reads are numbered; a heartbeat carries the number of the
 * newest one as its context, and so confirms all of them up to there.
 */
export class ReadOnly {
  readonly option: ReadOnlyOption;
  /** Highest number that each node acknowledged. */
  readonly #acks = new Map<bigint, number>();
  #unconfirmed: PendingRead[] = [];
  /** Number of the last confirmed read. */
  #confirmed = 0;

  readonly #acked = (id: bigint): number | undefined => this.#acks.get(id);

  constructor(option: ReadOnlyOption) {
    this.option = option;
  }

  addRequest(index: number, request: Message): void {
    this.#unconfirmed.push({ request, index });
  }

  /** Node `from` answered a heartbeat with `context`. Anything that is not one of our contexts is no answer. */
  recvAck(from: bigint, context: Uint8Array | undefined): void {
    if (context === undefined || context.length !== 8) return;
    const number = Number(new DataView(context.buffer, context.byteOffset, 8).getBigUint64(0, true));
    this.#acks.set(from, Math.max(this.#acks.get(from) ?? 0, number));
  }

  /** The reads that a quorum has confirmed by now, oldest first. */
  maybeAdvance(voters: JointConfig): readonly PendingRead[] {
    const newest = this.#confirmed + this.#unconfirmed.length;
    const confirmed = Math.min(jointCommittedIndex(voters, this.#acked), newest);
    if (confirmed <= this.#confirmed) return [];
    const done = this.#unconfirmed.splice(0, confirmed - this.#confirmed);
    this.#confirmed = confirmed;
    return done;
  }

  /** Context of a heartbeat that confirms everything waiting; undefined if nothing is. */
  heartbeatContext(): Uint8Array | undefined {
    if (this.#unconfirmed.length === 0) return undefined;
    const context = new Uint8Array(8);
    new DataView(context.buffer).setBigUint64(0, BigInt(this.#confirmed + this.#unconfirmed.length), true);
    return context;
  }
}
