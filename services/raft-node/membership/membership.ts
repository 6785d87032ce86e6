/** Pure: no clock, no I/O, no randomness. */
import { type ClusterSnapshot, RaftMember } from "@starling/api";
import { type ConfChange, ConfChangeType } from "raft-ts";

/** Who a member is and where it listens. */
export interface Member {
  readonly raftId: bigint;
  readonly nodeId: string;
  /** `host:port` of its remote API. */
  readonly addr: string;
}

/** What applying a conf change did. "refused" leaves raft's configuration as it was, on every replica alike. */
export type MembershipChange =
  | { readonly t: "added" | "updated" | "removed"; readonly member: Member }
  | { readonly t: "refused"; readonly explain: string };

/** The group's members and all that were ever removed: replicated state, changed by committed conf changes only. */
export class Membership {
  readonly #members = new Map<bigint, Member>();
  readonly #removed = new Set<bigint>();

  get(raftId: bigint): Member | undefined {
    return this.#members.get(raftId);
  }

  byNodeId(nodeId: string): Member | undefined {
    return this.list().find((member) => member.nodeId === nodeId);
  }

  list(): Member[] {
    return [...this.#members.values()];
  }

  /** An id is used once: a removed member that comes back gets a new one. */
  isRemoved(raftId: bigint): boolean {
    return this.#removed.has(raftId);
  }

  get removed(): bigint[] {
    return [...this.#removed];
  }

  /** Applies a committed change. */
  apply(change: ConfChange): MembershipChange {
    const { nodeId: raftId } = change;
    const known = this.#members.get(raftId);
    switch (change.type) {
      case ConfChangeType.ConfChangeAddNode:
      case ConfChangeType.ConfChangeAddLearnerNode: {
        if (this.#removed.has(raftId)) return refused(raftId, "was removed and cannot come back under this id");
        const member = memberOf(change);
        if (member === undefined) return refused(raftId, "comes without node id and address");
        this.#members.set(raftId, member);
        return { t: known ? "updated" : "added", member };
      }
      case ConfChangeType.ConfChangeUpdateNode: {
        const member = memberOf(change);
        if (known === undefined || member === undefined) return refused(raftId, "is no member to be updated");
        this.#members.set(raftId, member);
        return { t: "updated", member };
      }
      case ConfChangeType.ConfChangeRemoveNode: {
        if (known === undefined) return refused(raftId, "is no member to be removed");
        this.#members.delete(raftId);
        this.#removed.add(raftId);
        return { t: "removed", member: known };
      }
      default:
        return refused(raftId, `change type ${String(change.type)} is unknown`);
    }
  }

  snapshot(): ClusterSnapshot {
    return { members: this.list().map((member) => RaftMember.create(member)), removed: this.removed };
  }

  restore({ members, removed }: ClusterSnapshot): void {
    this.#members.clear();
    this.#removed.clear();
    for (const { raftId, nodeId, addr } of members) this.#members.set(raftId, { raftId, nodeId, addr });
    for (const raftId of removed) this.#removed.add(raftId);
  }
}

/** The conf change that adds or updates `member`, as Swarm writes it: a RaftMember in the context. */
export function memberChange(type: ConfChangeType, member: Member): ConfChange {
  return { type, nodeId: member.raftId, context: RaftMember.encode(RaftMember.create(member)) };
}

function memberOf({ nodeId: raftId, context }: ConfChange): Member | undefined {
  if (context === undefined || context.length === 0) return undefined;
  const { nodeId, addr } = RaftMember.decode(context);
  return { raftId, nodeId, addr };
}

function refused(raftId: bigint, why: string): MembershipChange {
  return { t: "refused", explain: `raft member ${raftId.toString(16)} ${why}` };
}

/**
 * Would a quorum of the members that are left be reachable without `raftId`?
 * `reachable` tells who can be reached now; the asking leader itself counts as reachable.
 */
export function keepsQuorumWithout(
  members: readonly Member[],
  raftId: bigint,
  reachable: (raftId: bigint) => boolean,
): boolean {
  const left = members.filter((member) => member.raftId !== raftId);
  const quorum = Math.floor(left.length / 2) + 1;
  return left.length > 0 && left.filter((member) => reachable(member.raftId)).length >= quorum;
}
