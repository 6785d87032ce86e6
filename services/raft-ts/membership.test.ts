import { describe, expect, it } from "vitest";
import { type Group, group, groupOf, groupWithLogs, Member, storageOf, voters } from "./test-group.ts";
import { ConfChangeTransition, ConfChangeType, MessageType, StateType } from "./types.ts";

const { ConfChangeAddNode, ConfChangeAddLearnerNode, ConfChangeRemoveNode } = ConfChangeType;
const joint = (m: Member) => m.node.status().config.voters.outgoing.size > 0;

/** `n` voters, and one more node that knows only that they exist. */
function groupAndNewcomer(n: number, options = {}): Group {
  const confState = voters(...Array.from({ length: n }, (_, i) => i + 1));
  const ids = [...confState.voters, BigInt(n + 1)];
  return groupOf(ids.map((id) => new Member(id, storageOf(confState), options)));
}

describe("Raft thesis §4.1: one change at a time", () => {
  it("a new voter catches up and counts", () => {
    const g = groupAndNewcomer(2).campaign(1);
    g.propose(1, "before");
    g.at(1).node.proposeConfChange({ type: ConfChangeAddNode, nodeId: 3n });
    g.settle();
    expect(g.at(3).applied).toEqual(["before"]);
    g.partition([1, 3], [2]);
    g.propose(1, "without 2");
    expect(g.at(1).applied).toEqual(["before", "without 2"]);
  });

  it("a second change is refused until the first is applied: it becomes an empty entry", () => {
    const g = group(3).campaign(1);
    g.at(1).node.proposeConfChange({ type: ConfChangeRemoveNode, nodeId: 2n });
    g.at(1).node.proposeConfChange({ type: ConfChangeRemoveNode, nodeId: 3n });
    g.settle();
    expect([...g.at(1).node.status().config.voters.incoming]).toEqual([1n, 3n]);
    expect(g.at(1).log.some((line) => line.includes("possible unapplied conf change at index 2"))).toBe(true);
  });

  it("a new leader refuses changes until it has applied all that was there before", () => {
    const g = groupWithLogs([[1], [1], [1]]);
    g.lose(MessageType.MsgAppResp);
    g.campaign(1);
    g.at(1).node.proposeConfChange({ type: ConfChangeRemoveNode, nodeId: 3n });
    expect(g.at(1).log.at(-1)).toContain("possible unapplied conf change at index 1 (applied to 0)");
  });

  it("a learner follows but neither votes in quorums nor campaigns", () => {
    const g = groupAndNewcomer(2).campaign(1);
    g.at(1).node.proposeConfChange({ type: ConfChangeAddLearnerNode, nodeId: 3n });
    g.settle();
    g.partition([1, 3], [2]);
    g.propose(1, "x");
    expect(g.at(3).entries()).toHaveLength(3);
    expect(g.at(1).applied).toEqual([]);
    g.pass(50, 3);
    expect(g.at(3).state).toBe(StateType.StateFollower);
  });

  it("a leader that removes itself goes on to commit that, and steps down if told so", () => {
    const g = group(3, { stepDownOnRemoval: true }).campaign(1);
    g.at(1).node.proposeConfChange({ type: ConfChangeRemoveNode, nodeId: 1n });
    g.settle();
    expect(g.at(1).state).toBe(StateType.StateFollower);
    g.campaign(2);
    expect(g.leaders()).toEqual([2]);
    expect([...g.at(2).node.status().config.voters.incoming]).toEqual([2n, 3n]);
  });
});

describe("Raft thesis §4.3: joint consensus", () => {
  const replace = [
    { type: ConfChangeAddNode, nodeId: 4n },
    { type: ConfChangeRemoveNode, nodeId: 2n },
    { type: ConfChangeRemoveNode, nodeId: 3n },
  ];

  it("needs the majorities of the old and of the new configuration", () => {
    const g = groupAndNewcomer(3).campaign(1);
    const transition = ConfChangeTransition.ConfChangeTransitionJointExplicit;
    g.at(1).node.proposeConfChange({ transition, changes: replace });
    g.settle();
    expect(joint(g.at(1))).toBe(true);
    g.partition([1, 4], [2, 3]);
    g.propose(1, "new majority only");
    expect(g.at(1).applied).toEqual([]);
    g.partition([1, 2, 3], [4]);
    g.propose(1, "old majority only");
    // Both have the first one now.
    expect(g.at(1).applied).toEqual(["new majority only"]);
    g.heal();
    g.pass(2);
    expect(g.at(1).applied).toEqual(["new majority only", "old majority only"]);
    g.at(1).node.proposeConfChange({ changes: [] });
    g.settle();
    expect(joint(g.at(1))).toBe(false);
    expect([...g.at(1).node.status().config.voters.incoming].sort()).toEqual([1n, 4n]);
  });

  it("a voter that becomes a learner goes on voting in the old configuration", () => {
    const g = groupAndNewcomer(3).campaign(1);
    const transition = ConfChangeTransition.ConfChangeTransitionJointExplicit;
    const changes = [
      { type: ConfChangeAddLearnerNode, nodeId: 3n },
      { type: ConfChangeAddNode, nodeId: 4n },
    ];
    g.at(1).node.proposeConfChange({ transition, changes });
    g.settle();
    const during = g.at(1).node.status().config;
    expect([during.learners, during.learnersNext]).toEqual([new Set(), new Set([3n])]);
    g.at(1).node.proposeConfChange({ changes: [] });
    g.settle();
    const after = g.at(1).node.status().config;
    expect([after.learners, after.learnersNext]).toEqual([new Set([3n]), new Set()]);
    expect(after.voters.incoming).toEqual(new Set([1n, 2n, 4n]));
  });

  it("is left by raft itself unless asked otherwise", () => {
    const g = groupAndNewcomer(3).campaign(1);
    g.at(1).node.proposeConfChange({ changes: replace });
    g.settle();
    expect(joint(g.at(1))).toBe(false);
    expect([...g.at(4).node.status().config.voters.incoming].sort()).toEqual([1n, 4n]);
  });
});

describe("Raft thesis §3.10: leadership transfer", () => {
  it("hands over at once to a follower that is up to date, whatever the lease says", () => {
    const g = group(3, { checkQuorum: true, preVote: true }).campaign(1);
    g.at(1).node.transferLeader(2n);
    g.settle();
    expect(g.leaders()).toEqual([2]);
  });

  it("first brings the target up to date; proposals are dropped meanwhile", () => {
    const g = group(3).campaign(1);
    g.partition([1, 2], [3]);
    g.propose(1, "a");
    g.at(1).node.transferLeader(3n);
    g.settle();
    expect(() => g.propose(1, "b")).toThrow("raft proposal dropped");
    g.heal();
    g.pass(2);
    expect(g.leaders()).toEqual([3]);
    expect(g.at(3).applied).toEqual(["a"]);
  });

  it("is given up after an election timeout", () => {
    const g = group(3).campaign(1);
    g.lose(MessageType.MsgTimeoutNow);
    g.at(1).node.transferLeader(3n);
    g.pass(10);
    expect(g.at(1).node.basicStatus().leadTransferee).toBe(0n);
    g.propose(1, "goes on");
    expect(g.at(3).applied).toEqual(["goes on"]);
  });

  it("asked of a follower, reaches the leader", () => {
    const g = group(3).campaign(1);
    g.at(2).node.transferLeader(3n);
    g.settle();
    expect(g.leaders()).toEqual([3]);
  });
});
