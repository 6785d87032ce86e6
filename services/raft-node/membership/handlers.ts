import { JoinResponse, LeaveResponse, RaftMember, type RaftMembership } from "@starling/api";
import type { Handlers } from "@starling/api/rpc";
import { SwarmError } from "@starling/base";
import { type ConfChange, ConfChangeType } from "raft-ts";
import { memberAddress } from "./join.ts";
import { keepsQuorumWithout, type Member, type Membership, memberChange } from "./membership.ts";

/** What changing the membership needs of the leader's node. */
export interface MembershipHost {
  readonly membership: Membership;
  /** Members that vote; the others are learners until they have caught up. */
  voters(): readonly Member[];
  /** Throws Unavailable or FailedPrecondition unless this node leads. */
  mustLead(): void;
  reachable(raftId: bigint): boolean;
  /** A random id. */
  newRaftId(): bigint;
  /** Rejects when the node at `addr` does not answer as a raft node. */
  checkHealth(addr: string): Promise<void>;
  /** Resolves when the change is committed and applied here. */
  changeConfig(change: ConfChange): Promise<void>;
}

/** Joins, promotions and removals, one at a time, on the leader. */
export class MembershipChanges {
  readonly #host: MembershipHost;
  #last: Promise<unknown> = Promise.resolve();

  constructor(host: MembershipHost) {
    this.#host = host;
  }

  /** Takes `nodeId` in, or its new address when it is a member already. Returns its raft id. */
  join(nodeId: string, addr: string): Promise<bigint> {
    return this.#alone(async () => {
      const { membership } = this.#host;
      this.#host.mustLead();
      // No change is proposed for a member that cannot be reached: it would only weaken the quorum.
      await this.#host.checkHealth(addr);
      const known = membership.byNodeId(nodeId);
      if (known) {
        const moved = memberChange(ConfChangeType.ConfChangeUpdateNode, { ...known, addr });
        if (known.addr !== addr) await this.#host.changeConfig(moved);
        return known.raftId;
      }
      let raftId = this.#host.newRaftId();
      while (membership.get(raftId) || membership.isRemoved(raftId)) raftId = this.#host.newRaftId();
      // A learner first: a voter that still starts would count against the quorum, and the leader could lose it.
      await this.#host.changeConfig(memberChange(ConfChangeType.ConfChangeAddLearnerNode, { raftId, nodeId, addr }));
      return raftId;
    });
  }

  /** Gives a learner its vote. False when it is gone, or this node no longer leads. */
  maybePromote(raftId: bigint): Promise<boolean> {
    return this.#alone(async () => {
      const member = this.#host.membership.get(raftId);
      if (member === undefined || this.#host.voters().includes(member)) return false;
      this.#host.mustLead();
      await this.#host.changeConfig(memberChange(ConfChangeType.ConfChangeAddNode, member));
      return true;
    });
  }

  /** Would the rest have a quorum that can be reached? */
  keepsQuorumWithout(raftId: bigint): boolean {
    return keepsQuorumWithout(this.#host.voters(), raftId, (id) => this.#host.reachable(id));
  }

  /** Removes a member for ever. FailedPrecondition when the rest would have no reachable quorum. */
  remove(raftId: bigint): Promise<void> {
    return this.#alone(async () => {
      const { membership } = this.#host;
      this.#host.mustLead();
      if (membership.isRemoved(raftId)) return;
      if (membership.get(raftId) === undefined) {
        throw new SwarmError("NotFound", `member ${raftId.toString(16)} not found`);
      }
      if (!this.keepsQuorumWithout(raftId)) {
        const text = "raft: member cannot be removed, because removing it may result in loss of quorum";
        throw new SwarmError("FailedPrecondition", text);
      }
      await this.#host.changeConfig({ type: ConfChangeType.ConfChangeRemoveNode, nodeId: raftId });
    });
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => undefined);
    return result;
  }
}

export function membershipHandlers(
  changes: MembershipChanges,
  membership: Membership,
): Handlers<typeof RaftMembership> {
  return {
    async join({ addr }, { caller, remoteAddress }) {
      if (caller.nodeId === "") throw new SwarmError("PermissionDenied", "joining needs a manager's certificate");
      const raftId = await changes.join(caller.nodeId, memberAddress(addr, remoteAddress));
      const members = membership.list().map((member) => RaftMember.create(member));
      return JoinResponse.create({ raftId, members, removedMembers: membership.removed });
    },
    async leave({ node }) {
      if (node === undefined) throw new SwarmError("InvalidArgument", "no node information provided");
      await changes.remove(node.raftId);
      return LeaveResponse.create();
    },
  };
}
