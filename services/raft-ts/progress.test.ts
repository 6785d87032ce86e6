import { describe, expect, it } from "vitest";
import {
  drain,
  type Group,
  group,
  groupOf,
  type Member,
  Member as NewMember,
  storageOf,
  voters,
} from "./test-group.ts";
import { ProgressState } from "./tracker/progress.ts";
import { type Message, MessageType, newMessage, SnapshotStatus } from "./types.ts";

const { MsgApp, MsgAppResp, MsgHeartbeatResp, MsgSnap } = MessageType;
const progressOf = (leader: Member, id: bigint) => leader.node.status().progress.get(id)!;

/** 1 leads and has sent 2 a snapshot, since 2 lacks entries that are compacted away; the snapshot waits in `sent`. */
function snapshotOnItsWay(): { readonly g: Group; readonly sent: Message[] } {
  const g = group(3).campaign(1);
  g.partition([1, 3], [2]);
  for (const data of ["a", "b"]) g.propose(1, data);
  const leader = g.at(1);
  leader.storage.createSnapshot(leader.appliedIndex, voters(1, 2, 3), new Uint8Array(1));
  leader.storage.compact(leader.appliedIndex);
  const sent: Message[] = [];
  g.passes = (m) => {
    if (m.type !== MsgSnap) return true;
    sent.push(m);
    return false;
  };
  leader.node.reportUnreachable(2n);
  g.pass(1, 1);
  return { g, sent };
}

describe("Raft paper §7: a snapshot on its way", () => {
  it("pauses replication to its receiver", () => {
    const { g, sent } = snapshotOnItsWay();
    expect(sent).toHaveLength(1);
    const before = progressOf(g.at(1), 2n);
    expect([before.state, before.pendingSnapshot]).toEqual([ProgressState.StateSnapshot, 3]);
    g.propose(1, "c");
    expect(progressOf(g.at(1), 2n).next).toBe(before.next);
  });

  it("that failed is sent again after a heartbeat's answer", () => {
    const { g, sent } = snapshotOnItsWay();
    g.at(1).node.reportSnapshot(2n, SnapshotStatus.SnapshotFailure);
    const progress = progressOf(g.at(1), 2n);
    expect([progress.state, progress.pendingSnapshot, progress.next]).toEqual([ProgressState.StateProbe, 0, 2]);
    expect(progress.isPaused()).toBe(true);
    g.pass(1, 1);
    expect(sent).toHaveLength(2);
  });

  it("that arrived is followed by probes from behind it, once the receiver answers", () => {
    const { g } = snapshotOnItsWay();
    g.at(1).node.reportSnapshot(2n, SnapshotStatus.SnapshotFinish);
    const progress = progressOf(g.at(1), 2n);
    expect([progress.state, progress.next, progress.isPaused()]).toEqual([ProgressState.StateProbe, 4, true]);
  });

  it("needs no end when the receiver shows that it has what it lacked", () => {
    const { g } = snapshotOnItsWay();
    g.at(1).node.step(newMessage({ type: MsgAppResp, from: 2n, to: 1n, term: 1, index: 3 }));
    expect(progressOf(g.at(1), 2n)).toMatchObject({ state: ProgressState.StateReplicate, match: 3, next: 4 });
  });

  it("is not sent to a peer that nothing was heard of", () => {
    const leader = new NewMember(1n, storageOf(voters(1, 2)), {});
    leader.node.campaign();
    drain(leader);
    leader.node.step(newMessage({ type: MessageType.MsgVoteResp, from: 2n, to: 1n, term: 1 }));
    drain(leader);
    leader.node.step(newMessage({ type: MsgAppResp, from: 2n, to: 1n, term: 1, index: 1 }));
    drain(leader);
    leader.storage.createSnapshot(1, voters(1, 2), new Uint8Array(1));
    leader.storage.compact(1);
    // A new term: nobody is known to be there.
    leader.node.step(newMessage({ type: MessageType.MsgAppResp, from: 2n, to: 1n, term: 2 }));
    leader.node.campaign();
    drain(leader);
    leader.node.step(newMessage({ type: MessageType.MsgVoteResp, from: 2n, to: 1n, term: 3 }));
    expect(drain(leader).map(({ type }) => type)).not.toContain(MsgSnap);
  });
});

describe("Raft paper §7: a snapshot that arrives", () => {
  const follower = () => {
    const g = group(3).campaign(1).propose(1, "a").propose(1, "b");
    return g.at(2);
  };
  const snapshotAt = (index: number, term: number, confState = voters(1, 2, 3)) =>
    newMessage({
      type: MsgSnap,
      from: 1n,
      to: 2n,
      term: 1,
      snapshot: { data: new Uint8Array(1), metadata: { index, term, confState } },
    });

  it("and is behind the commit index is of no use; the answer tells how far the log is", () => {
    const member = follower();
    member.node.step(snapshotAt(2, 1));
    expect(drain(member)).toMatchObject([{ type: MsgAppResp, index: 3 }]);
    expect(member.entries()).toHaveLength(3);
  });

  it("and leaves its receiver out is ignored", () => {
    const member = follower();
    member.node.step(snapshotAt(9, 1, voters(1, 3)));
    expect(drain(member)).toMatchObject([{ type: MsgAppResp, index: 3 }]);
  });

  it("brings log, commit index and membership, learners and joint ones, too", () => {
    const member = follower();
    const confState = {
      ...voters(1, 3),
      votersOutgoing: [1n, 2n],
      learners: [4n],
      learnersNext: [2n],
      autoLeave: true,
    };
    member.node.step(snapshotAt(9, 1, confState));
    expect(drain(member)).toMatchObject([{ type: MsgAppResp, index: 9 }]);
    expect([member.commit, member.storage.firstIndex(), member.storage.lastIndex()]).toEqual([9, 10, 9]);
    const { config } = member.node.status();
    expect(config).toEqual({
      voters: { incoming: new Set([1n, 3n]), outgoing: new Set([1n, 2n]) },
      learners: new Set([4n]),
      learnersNext: new Set([2n]),
      autoLeave: true,
    });
  });
});

describe("replication to one peer", () => {
  it("falls back to probing when it is unreachable, and goes on with its next answer", () => {
    const g = group(2).campaign(1).propose(1, "a");
    g.at(1).node.reportUnreachable(2n);
    expect(progressOf(g.at(1), 2n).state).toBe(ProgressState.StateProbe);
    g.propose(1, "b");
    expect(progressOf(g.at(1), 2n).state).toBe(ProgressState.StateReplicate);
    expect(g.at(2).applied).toEqual(["a", "b"]);
  });

  it("while probing sends one message until a heartbeat is answered", () => {
    const g = group(2).campaign(1);
    let appends = 0;
    g.passes = ({ type }) => {
      if (type === MsgApp) appends++;
      return type !== MsgApp;
    };
    g.at(1).node.reportUnreachable(2n);
    for (const data of ["a", "b", "c"]) g.propose(1, data);
    expect(appends).toBe(1);
    g.at(1).node.step(newMessage({ type: MsgHeartbeatResp, from: 2n, to: 1n, term: 1 }));
    g.settle();
    expect(appends).toBe(2);
  });

  it("takes an old rejection or acknowledgement for what it is", () => {
    const g = group(2).campaign(1).propose(1, "a").propose(1, "b");
    const before = String(progressOf(g.at(1), 2n));
    const old = { type: MsgAppResp, from: 2n, to: 1n, term: 1 };
    g.at(1).node.step(newMessage({ ...old, index: 1, reject: true, rejectHint: 0 }));
    g.at(1).node.step(newMessage({ ...old, index: 2 }));
    expect(String(progressOf(g.at(1), 2n))).toBe(before);
  });

  it("of what comes in another order ends with the same log", () => {
    const g = group(2).campaign(1);
    const held: Message[] = [];
    g.passes = (m) => {
      if (m.type === MsgApp) held.push(m);
      return m.type !== MsgApp;
    };
    for (const data of ["a", "b", "c"]) g.propose(1, data);
    g.heal();
    for (const m of held.reverse()) g.deliver(m);
    g.settle();
    g.pass(2);
    expect(g.at(2).applied).toEqual(["a", "b", "c"]);
  });

  it("never tells a peer to commit what is not known to be in its log", () => {
    const g = group(3).campaign(1);
    g.partition([1, 2], [3]);
    g.propose(1, "a");
    const told: number[] = [];
    g.passes = (m) => {
      if (m.type === MessageType.MsgHeartbeat && m.to === 3n) told.push(m.commit);
      return m.to !== 3n && m.from !== 3n;
    };
    g.pass(1, 1);
    expect(g.at(1).commit).toBe(2);
    expect(told).toEqual([1]);
  });
});

describe("committed entries", () => {
  it.each([[false], [true]])(
    "are handed out in pieces of maxCommittedSizePerReady, none left out (restart: %s)",
    (again) => {
      const g = group(1, { maxCommittedSizePerReady: 30 }).campaign(1);
      const member = g.at(1);
      const sizes: number[] = [];
      for (const data of ["1".repeat(10), "2".repeat(10), "3".repeat(40), "4"])
        member.node.propose(new TextEncoder().encode(data));
      if (again) {
        const rd = member.node.ready();
        member.storage.append(rd.entries);
        member.storage.setHardState({ term: 1, vote: 1n, commit: 5 });
        member.restart();
      }
      while (member.node.hasReady()) {
        const before = member.appliedIndex;
        member.handleReady();
        if (member.appliedIndex > before) sizes.push(member.appliedIndex - before);
      }
      expect(sizes).toEqual([1, 1, 1, 1]);
      expect(member.applied.map((text) => text[0])).toEqual(["1", "2", "3", "4"]);
    },
  );
});

describe("groups with a member more than they need", () => {
  it("a learner neither campaigns nor is told to, but votes when asked", () => {
    const g = groupOf([1n, 2n].map((id) => new NewMember(id, storageOf({ ...voters(1), learners: [2n] }), {})));
    g.at(2).node.campaign();
    g.pass(40, 2);
    expect(g.at(2).term).toBe(0);
    g.at(2).node.step(newMessage({ type: MessageType.MsgVote, from: 1n, to: 2n, term: 2, index: 0, logTerm: 0 }));
    expect(drain(g.at(2))).toMatchObject([{ type: MessageType.MsgVoteResp, reject: false, term: 2 }]);
  });
});
