import { describe, expect, it } from "vitest";
import { bytes, drain, group, groupOf, groupWithLogs, Member, storageOf, voters } from "./test-group.ts";
import {
  ConfChangeType,
  type ConfState,
  type Message,
  MessageType,
  newMessage,
  ReadOnlyOption,
  StateType,
} from "./types.ts";

const { MsgVote, MsgPreVote, MsgVoteResp, MsgPreVoteResp, MsgApp, MsgAppResp, MsgHeartbeat, MsgReadIndex } =
  MessageType;

/** Voter 1 of `n`, alone: what it sends goes nowhere. */
const lone = (n: number, options = {}) => {
  const ids = Array.from({ length: n }, (_, i) => i + 1);
  return new Member(1n, storageOf(voters(...ids)), options);
};

describe("Raft paper §5.1: terms", () => {
  it.each([["follower"], ["candidate"], ["leader"]])("a %s that hears of a later term follows in it", (role) => {
    const member = lone(3);
    if (role !== "follower") member.node.campaign();
    drain(member);
    if (role === "leader") member.node.step(newMessage({ type: MsgVoteResp, from: 2n, to: 1n, term: 1 }));
    drain(member);
    member.node.step(newMessage({ type: MsgApp, from: 2n, to: 1n, term: 5 }));
    expect([member.state, member.term, member.lead]).toEqual([StateType.StateFollower, 5, 2n]);
  });

  it("messages of an earlier term change nothing", () => {
    const g = group(3).campaign(1).campaign(2).propose(2, "a");
    const stale = newMessage({ type: MsgApp, from: 1n, to: 3n, term: 1, index: 0, entries: [], commit: 9 });
    g.at(3).node.step(stale);
    expect([g.at(3).commit, g.at(3).lead]).toEqual([3, 2n]);
  });

  it("with CheckQuorum or PreVote the sender of an old heartbeat learns of the later term", () => {
    for (const options of [{ checkQuorum: true }, { preVote: true }]) {
      const member = lone(3, options);
      member.node.step(newMessage({ type: MsgHeartbeat, from: 2n, to: 1n, term: 4 }));
      drain(member);
      member.node.step(newMessage({ type: MsgHeartbeat, from: 3n, to: 1n, term: 2 }));
      expect(drain(member)).toMatchObject([{ type: MsgAppResp, to: 3n, term: 4 }]);
    }
  });
});

describe("Raft paper §5.2: a candidate", () => {
  it("counts its own vote only when that is durable, and never for an election that is over", () => {
    const member = lone(3);
    member.node.campaign();
    // The vote is handed out to be written; meanwhile another one leads this term.
    const rd = member.node.ready();
    member.storage.setHardState(rd.hardState!);
    member.node.step(newMessage({ type: MsgHeartbeat, from: 2n, to: 1n, term: 1 }));
    member.node.advance();
    expect(member.state).toBe(StateType.StateFollower);
    member.node.step(newMessage({ type: MsgVoteResp, from: 3n, to: 1n, term: 1 }));
    expect(member.state).toBe(StateType.StateFollower);
  });

  it("gives up when a majority refuses, and stands again in the next term", () => {
    const member = lone(3);
    member.node.campaign();
    drain(member);
    for (const from of [2n, 3n])
      member.node.step(newMessage({ type: MsgVoteResp, from, to: 1n, term: 1, reject: true }));
    expect([member.state, member.term]).toEqual([StateType.StateFollower, 1]);
    member.node.campaign();
    expect(member.term).toBe(2);
  });

  it("does not stand while a committed change of the membership is not applied", () => {
    const g = group(3).campaign(1);
    g.at(1).node.proposeConfChange({ type: ConfChangeType.ConfChangeRemoveNode, nodeId: 3n });
    g.settle();
    // Committed at 2, and not yet applied there.
    const entries = g.at(2).entries();
    const storage = storageOf(voters(1, 2, 3), entries, 1);
    storage.setHardState({ term: 1, vote: 1n, commit: entries.length });
    const member = new Member(2n, storage, {});
    member.node.campaign();
    expect([member.state, member.term]).toEqual([StateType.StateFollower, 1]);
    drain(member);
    member.node.campaign();
    expect(member.state).toBe(StateType.StateCandidate);
  });

  it("that leads already, or may not vote, does not stand", () => {
    const g = group(1).campaign(1);
    g.at(1).node.campaign();
    expect(g.at(1).term).toBe(1);
    const stranger = new Member(9n, storageOf(voters(1, 2)), {});
    stranger.node.campaign();
    expect(stranger.term).toBe(0);
  });

  it("leads, and overwrites logs of later terms than its own that no majority has", () => {
    const g = groupWithLogs([[1], [1], [2], [1, 3], [1]]);
    g.partition([1, 2, 5], [3], [4]);
    g.campaign(1);
    expect(g.leaders()).toEqual([1]);
    g.heal();
    g.pass(3);
    const logs = [1, 2, 3, 4, 5].map((id) =>
      g
        .at(id)
        .entries()
        .map(({ term }) => term),
    );
    expect(new Set(logs.map(String)).size).toBe(1);
  });
});

describe("Raft thesis §9.6: groups that turn PreVote on", () => {
  it("a pre-candidate whose term is behind is told, and follows", () => {
    const g = group(3, { preVote: true }).campaign(1);
    g.partition([1, 2], [3]);
    g.campaign(2);
    g.at(1).node.step(newMessage({ type: MsgVote, from: 2n, to: 1n, term: 5, index: 9, logTerm: 5 }));
    drain(g.at(1));
    g.at(1).node.step(newMessage({ type: MsgPreVote, from: 3n, to: 1n, term: 2, index: 1, logTerm: 1 }));
    expect(drain(g.at(1))).toMatchObject([{ type: MsgPreVoteResp, to: 3n, reject: true, term: 5 }]);
  });

  it("a candidate of a later term is freed by whoever leads, or leads itself", () => {
    const g = group(3, { checkQuorum: true }).campaign(1);
    g.partition([1, 2], [3]);
    g.campaign(3).campaign(3);
    expect(g.at(3).term).toBe(3);
    g.heal();
    // The lease keeps its requests from being heard; the answer to a heartbeat brings the leader down.
    g.pass(30);
    expect(g.leaders()).toHaveLength(1);
    expect(new Set([1, 2, 3].map((id) => g.at(id).term)).size).toBe(1);
  });
});

describe("Raft thesis §4.2.1: learners", () => {
  const confState: ConfState = { ...voters(1, 2), learners: [3n] };
  const withLearner = (options = {}) =>
    groupOf([1n, 2n, 3n].map((id) => new Member(id, storageOf(confState), options))).campaign(1);

  it("are promoted, and stand for election then", () => {
    const g = withLearner();
    g.at(1).node.proposeConfChange({ type: ConfChangeType.ConfChangeAddNode, nodeId: 3n });
    g.settle();
    g.campaign(3);
    expect(g.leaders()).toEqual([3]);
  });

  it("read through the leader, but do not confirm it", () => {
    const g = withLearner();
    g.at(3).node.readIndex(bytes("r"));
    g.settle();
    expect(g.at(3).reads).toHaveLength(1);
    g.partition([1, 3], [2]);
    g.at(3).node.readIndex(bytes("s"));
    g.settle();
    expect(g.at(3).reads).toHaveLength(1);
  });
});

describe("Raft thesis §6.4: reads on their way", () => {
  it("that reach a former leader go on to the present one", () => {
    const g = group(3).campaign(1);
    const held: Message[] = [];
    g.passes = (m) => {
      if (m.type === MsgReadIndex) held.push(m);
      return m.type !== MsgReadIndex;
    };
    g.at(2).node.readIndex(bytes("r"));
    g.settle();
    g.heal();
    g.campaign(3);
    for (const m of held) g.deliver(m);
    g.settle();
    expect(g.at(2).reads).toMatchObject([{ index: 2 }]);
  });

  it("with the same context are answered one by one", () => {
    const g = group(3).campaign(1);
    g.at(1).node.readIndex(bytes("r"));
    g.at(1).node.readIndex(bytes("r"));
    g.settle();
    expect(g.at(1).reads).toHaveLength(2);
  });

  it("by lease are answered at once, and forgetting the leader is refused", () => {
    const options = { checkQuorum: true, readOnlyOption: ReadOnlyOption.ReadOnlyLeaseBased };
    const g = group(3, options).campaign(1);
    g.at(2).node.forgetLeader();
    expect(g.at(2).lead).toBe(1n);
    g.passes = (m) => m.type !== MsgHeartbeat;
    g.at(2).node.readIndex(bytes("r"));
    g.settle();
    expect(g.at(2).reads).toHaveLength(1);
  });
});
