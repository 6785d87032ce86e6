import { describe, expect, it } from "vitest";
import { group, groupOf, Member, storageOf, voters } from "./test-group.ts";
import { ConfChangeType, type ConfState, MessageType, newMessage } from "./types.ts";

const { MsgTimeoutNow, MsgVote } = MessageType;

/** 1 leads; what it sends to make somebody campaign gets lost. */
function leaderWhoseWishIsLost(n = 3) {
  const g = group(n).campaign(1);
  g.lose(MsgTimeoutNow);
  const transferee = () => g.at(1).node.basicStatus().leadTransferee;
  return { g, transferee };
}

describe("Raft thesis §3.10: a leadership transfer under way", () => {
  it("asked for again, goes on; asked for somebody else, changes its target", () => {
    const { g, transferee } = leaderWhoseWishIsLost();
    g.at(1).node.transferLeader(2n);
    g.at(1).node.transferLeader(2n);
    expect(transferee()).toBe(2n);
    g.at(1).node.transferLeader(3n);
    expect(transferee()).toBe(3n);
  });

  it("ends when the leader is asked to keep its office", () => {
    const { g, transferee } = leaderWhoseWishIsLost();
    g.at(1).node.transferLeader(2n);
    g.at(1).node.transferLeader(1n);
    expect(transferee()).toBe(0n);
    g.propose(1, "a");
    expect(g.leaders()).toEqual([1]);
  });

  it("is not begun towards a stranger, a learner, or by one who does not know a leader", () => {
    const confState: ConfState = { ...voters(1, 2), learners: [3n] };
    const g = groupOf([1n, 2n, 3n].map((id) => new Member(id, storageOf(confState), {}))).campaign(1);
    for (const stranger of [3n, 9n]) {
      g.at(1).node.transferLeader(stranger);
      g.settle();
      expect(g.at(1).node.basicStatus().leadTransferee).toBe(0n);
    }
    const alone = group(3);
    alone.at(2).node.transferLeader(3n);
    alone.settle();
    expect(alone.leaders()).toEqual([]);
  });

  it.each([
    ["removed", ConfChangeType.ConfChangeRemoveNode],
    ["made a learner", ConfChangeType.ConfChangeAddLearnerNode],
  ])("ends when its target is %s", (_, type) => {
    const { g, transferee } = leaderWhoseWishIsLost();
    g.at(1).node.proposeConfChange({ type, nodeId: 3n });
    g.at(1).node.transferLeader(3n);
    g.settle();
    expect(transferee()).toBe(0n);
    g.propose(1, "a");
    expect(g.at(2).applied).toEqual(["a"]);
  });

  it("ends with the leader's term", () => {
    const { g, transferee } = leaderWhoseWishIsLost();
    g.at(1).node.transferLeader(3n);
    g.at(1).node.step(newMessage({ type: MsgVote, from: 2n, to: 1n, term: 2, index: 1, logTerm: 1 }));
    g.settle();
    expect(transferee()).toBe(0n);
    expect(g.at(1).term).toBe(2);
  });

  it("reaches a target that needs a snapshot first", () => {
    const g = group(3).campaign(1);
    g.partition([1, 2], [3]);
    g.propose(1, "a");
    const leader = g.at(1);
    leader.storage.createSnapshot(leader.appliedIndex, voters(1, 2, 3), new Uint8Array(1));
    leader.storage.compact(leader.appliedIndex);
    g.heal();
    leader.node.transferLeader(3n);
    g.pass(3);
    expect(g.leaders()).toEqual([3]);
  });

  it("a node that was removed does not heed the wish", () => {
    const g = groupOf([new Member(3n, storageOf(voters(1, 2)), {})]);
    g.at(3).node.step(newMessage({ type: MsgTimeoutNow, from: 1n, to: 3n, term: 1 }));
    expect(g.settle().leaders()).toEqual([]);
    expect(g.at(3).term).toBe(1);
  });
});
