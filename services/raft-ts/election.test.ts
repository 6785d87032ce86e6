import { describe, expect, it } from "vitest";
import { drain, entry, group, groupWithLogs, Member, storageOf, voters } from "./test-group.ts";
import { MessageType, newMessage, StateType } from "./types.ts";

const vote = (from: number, term: number, logTerm: number, index: number) =>
  newMessage({ type: MessageType.MsgVote, from: BigInt(from), to: 1n, term, logTerm, index });

describe("Raft paper §5.2: leader election", () => {
  it("a follower campaigns when it hears of no leader for its election timeout", () => {
    const g = group(3, { random: () => 0.5 });
    g.pass(14, 1);
    expect(g.at(1).state).toBe(StateType.StateFollower);
    g.pass(1, 1);
    expect(g.leaders()).toEqual([1]);
    expect(g.at(3)).toMatchObject({ lead: 1n, term: 1 });
  });

  it("heartbeats keep followers from campaigning", () => {
    const g = group(3).campaign(1);
    g.pass(100);
    expect(g.leaders()).toEqual([1]);
    expect(g.at(1).term).toBe(1);
  });

  it.each([
    { size: 3, votes: 1, wins: true },
    { size: 5, votes: 1, wins: false },
    { size: 5, votes: 2, wins: true },
  ])("of $size voters, a candidate with $votes votes beside its own wins: $wins", ({ size, votes, wins }) => {
    const m = new Member(1n, storageOf(voters(...Array.from({ length: size }, (_, i) => i + 1))), {});
    m.node.campaign();
    drain(m);
    for (let i = 0; i < votes; i++) {
      m.node.step(newMessage({ type: MessageType.MsgVoteResp, from: BigInt(i + 2), to: 1n, term: 1 }));
    }
    expect(m.isLeader()).toBe(wins);
  });

  it("a voter gives its one vote of a term to the first who asks, also after a restart", () => {
    const m = new Member(1n, storageOf(voters(1, 2, 3)), {});
    m.node.step(vote(2, 1, 0, 0));
    expect(drain(m)).toMatchObject([{ type: MessageType.MsgVoteResp, to: 2n, reject: false }]);
    m.restart();
    m.node.step(vote(3, 1, 0, 0));
    m.node.step(vote(2, 1, 0, 0));
    expect(drain(m)).toMatchObject([
      { to: 3n, reject: true },
      { to: 2n, reject: false },
    ]);
  });

  it("a split vote elects nobody, and the next term decides", () => {
    const g = group(4);
    g.passes = (m) => !(m.from === 1n && m.to === 4n);
    g.at(1).node.campaign();
    g.at(2).node.campaign();
    g.settle();
    expect(g.leaders()).toEqual([]);
    g.heal();
    g.campaign(1);
    expect(g.leaders()).toEqual([1]);
    expect(g.at(2)).toMatchObject({ term: 2, lead: 1n });
  });

  it("a candidate returns to follower when a leader of its term shows up", () => {
    const m = new Member(1n, storageOf(voters(1, 2, 3)), {});
    m.node.campaign();
    drain(m);
    m.node.step(newMessage({ type: MessageType.MsgHeartbeat, from: 2n, to: 1n, term: 1 }));
    expect(m).toMatchObject({ state: StateType.StateFollower, lead: 2n, term: 1 });
  });
});

describe("Raft paper §5.4.1: election restriction", () => {
  it.each([
    { logTerm: 2, index: 2, granted: true, why: "equal logs" },
    { logTerm: 2, index: 3, granted: true, why: "same term, longer" },
    { logTerm: 3, index: 1, granted: true, why: "higher last term, shorter" },
    { logTerm: 2, index: 1, granted: false, why: "same term, shorter" },
    { logTerm: 1, index: 9, granted: false, why: "lower last term, longer" },
  ])("candidate with last entry $logTerm/$index against 2/2: $why", ({ logTerm, index, granted }) => {
    const m = new Member(1n, storageOf(voters(1, 2, 3), [entry(1, 1), entry(2, 2)]), {});
    m.node.step(vote(2, 3, logTerm, index));
    expect(drain(m)).toMatchObject([{ type: MessageType.MsgVoteResp, reject: !granted }]);
  });

  it("a node whose log lacks a committed entry cannot win", () => {
    const g = groupWithLogs([[], [1], [1]]);
    g.campaign(1);
    expect(g.leaders()).toEqual([]);
    g.campaign(2);
    expect(g.leaders()).toEqual([2]);
    expect(
      g
        .at(1)
        .entries()
        .map((e) => e.term),
    ).toEqual([1, 3]);
  });
});

describe("Raft thesis §9.6: PreVote", () => {
  it("a node that comes back from a partition disturbs nobody", () => {
    const g = group(3, { preVote: true, checkQuorum: true }).campaign(1);
    g.partition([1, 2], [3]);
    g.pass(100);
    expect(g.at(3)).toMatchObject({ state: StateType.StatePreCandidate, term: 1 });
    g.heal();
    g.pass(20);
    expect(g.leaders()).toEqual([1]);
    expect(g.at(3)).toMatchObject({ state: StateType.StateFollower, lead: 1n, term: 1 });
  });

  it("without it the same node deposes the leader", () => {
    const g = group(3).campaign(1);
    g.partition([1, 2], [3]);
    g.pass(100);
    g.heal();
    g.pass(20);
    expect(g.at(1).term).toBeGreaterThan(1);
  });

  it("a pre-candidate raises its term only when a majority would vote for it", () => {
    const g = group(3, { preVote: true });
    g.lose(MessageType.MsgPreVoteResp);
    g.campaign(1);
    expect(g.at(1)).toMatchObject({ state: StateType.StatePreCandidate, term: 0 });
    g.heal();
    g.campaign(1);
    expect(g.at(1)).toMatchObject({ state: StateType.StateLeader, term: 1 });
  });
});

describe("Raft thesis §6.2, §4.2.3: CheckQuorum and its lease", () => {
  it("a leader that is cut off steps down within two election timeouts", () => {
    const g = group(3, { checkQuorum: true }).campaign(1);
    g.partition([1], [2, 3]);
    g.pass(20, 1);
    expect(g.at(1)).toMatchObject({ state: StateType.StateFollower, lead: 0n });
  });

  it("followers ignore requests for votes while they hear from a leader", () => {
    const g = group(3, { checkQuorum: true }).campaign(1);
    g.campaign(3);
    expect(g.leaders()).toEqual([1]);
    expect(g.at(2)).toMatchObject({ lead: 1n, term: 1 });
    expect(g.at(2).log.at(-1)).toContain("ignored MsgVote from 3");
    expect(g.at(2).log.at(-1)).toContain("lease is not expired");
  });

  it("forgetting the leader ends the lease", () => {
    const g = group(3, { checkQuorum: true }).campaign(1);
    g.at(2).node.forgetLeader();
    g.campaign(3);
    expect(g.leaders()).toEqual([3]);
  });
});
