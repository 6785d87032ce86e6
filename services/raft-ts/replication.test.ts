import { describe, expect, it } from "vitest";
import { ErrProposalDropped } from "./errors.ts";
import { bytes, drain, entry, group, groupOf, groupWithLogs, Member, storageOf, voters } from "./test-group.ts";
import { MessageType, newMessage, noData, StateType } from "./types.ts";

const thrownBy = (f: () => void): unknown => {
  try {
    f();
  } catch (err) {
    return err;
  }
  return undefined;
};

describe("Raft paper §5.3: log replication", () => {
  it("a proposal is applied everywhere, in one order", () => {
    const g = group(5).campaign(1);
    g.propose(1, "a").propose(3, "b").propose(1, "c");
    for (const m of g.members.values()) expect(m.applied).toEqual(["a", "b", "c"]);
  });

  it("commits with a majority, and not without one", () => {
    const g = group(5).campaign(1);
    g.partition([1, 2, 3], [4, 5]);
    g.propose(1, "kept");
    expect(g.at(1).applied).toEqual(["kept"]);
    g.partition([1, 2], [3, 4, 5]);
    g.propose(1, "waits");
    expect(g.at(1).applied).toEqual(["kept"]);
    expect(g.at(2).entries()).toHaveLength(3);
  });

  // Figure 7: what followers may look like when a leader of term 8 comes to power.
  it.each([
    { name: "a: misses one entry", terms: [1, 1, 1, 4, 4, 5, 5, 6, 6] },
    { name: "b: misses many", terms: [1, 1, 1, 4] },
    { name: "c: has one too many", terms: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6] },
    { name: "d: has a later term", terms: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7] },
    { name: "e: both", terms: [1, 1, 1, 4, 4, 4, 4] },
    { name: "f: never heard of most", terms: [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3] },
  ])("figure 7 $name", ({ terms }) => {
    const leader = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    const g = groupWithLogs([leader, terms, []]);
    g.campaign(1);
    g.propose(1, "x");
    expect(g.at(2).entries()).toEqual(g.at(1).entries());
    expect(g.at(2).commit).toBe(g.at(1).commit);
  });

  it("a probe skips whole terms instead of going back entry by entry", () => {
    const g = groupWithLogs([
      Array.from({ length: 200 }, (_, i) => (i < 100 ? 1 : 3)),
      Array(150).fill(1).fill(2, 100),
      [],
    ]);
    let rejections = 0;
    g.passes = (m) => {
      if (m.type === MessageType.MsgAppResp && m.from === 2n && m.reject) rejections++;
      return true;
    };
    g.campaign(1);
    g.propose(1, "x");
    expect(g.at(2).entries()).toEqual(g.at(1).entries());
    expect(rejections).toBeLessThanOrEqual(2);
  });
});

describe("Raft paper §5.4.2: entries of earlier terms", () => {
  it("are not committed by counting replicas, only along with one of the own term", () => {
    const g = groupWithLogs([[1, 2], [1, 2], [1]]);
    // The leader's own entry never arrives, but the one of term 2 is on a majority.
    g.passes = (m) => m.type !== MessageType.MsgApp;
    g.campaign(1);
    expect(g.leaders()).toEqual([1]);
    g.at(1).node.step(newMessage({ type: MessageType.MsgAppResp, from: 2n, to: 1n, term: g.at(1).term, index: 2 }));
    g.settle();
    expect(g.at(1).commit).toBe(0);
    g.heal();
    g.pass(1);
    expect(g.at(1).commit).toBe(3);
  });
});

describe("Raft paper §7: snapshots", () => {
  it("bring a follower back whose entries are compacted away", () => {
    const g = group(3).campaign(1);
    g.partition([1, 2], [3]);
    for (const data of ["a", "b", "c"]) g.propose(1, data);
    const { storage } = g.at(1);
    storage.createSnapshot(4, undefined, bytes("abc"));
    storage.compact(4);
    g.heal();
    g.pass(2);
    expect(g.at(3).storage.snapshot()).toMatchObject({ metadata: { index: 4 } });
    g.propose(1, "d");
    expect(g.at(3).applied).toEqual(["d"]);
    expect(g.at(3).commit).toBe(g.at(1).commit);
  });
});

describe("flow control", () => {
  it("keeps to maxInflightMsgs and goes on when the peer answers", () => {
    const g = group(2, { maxInflightMsgs: 3, maxSizePerMsg: 0, maxCommittedSizePerReady: 1 }).campaign(1);
    let appends = 0;
    g.passes = ({ type }) => {
      if (type === MessageType.MsgApp) appends++;
      return type !== MessageType.MsgAppResp;
    };
    for (let i = 0; i < 10; i++) g.at(1).node.propose(bytes(`${i}`));
    g.settle();
    expect(appends).toBe(3);
    expect(g.at(2).entries()).toHaveLength(1 + 3);
    g.heal();
    g.pass(1);
    g.pass(1);
    expect(g.at(2).applied).toEqual(["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
  });

  it("keeps to maxInflightBytes, softly: the message that crosses it still goes", () => {
    const g = group(2, { maxInflightBytes: 10, maxSizePerMsg: 10 }).campaign(1);
    g.lose(MessageType.MsgAppResp);
    for (let i = 0; i < 5; i++) g.propose(1, "1234567");
    expect(
      g
        .at(2)
        .entries()
        .filter((e) => e.data.length > 0),
    ).toHaveLength(2);
  });

  it("drops proposals beyond maxUncommittedEntriesSize, but never the first", () => {
    const g = group(3, { maxUncommittedEntriesSize: 8 }).campaign(1);
    g.partition([1], [2, 3]);
    g.propose(1, "a long one that is over the limit by itself");
    expect(thrownBy(() => g.at(1).node.propose(bytes("x")))).toBe(ErrProposalDropped);
    expect(thrownBy(() => g.at(1).node.propose(noData))).toBeUndefined();
    g.heal();
    g.pass(2);
    expect(thrownBy(() => g.at(1).node.propose(bytes("x")))).toBeUndefined();
  });
});

describe("proposals", () => {
  it("are dropped without a leader", () => {
    expect(thrownBy(() => group(3).at(1).node.propose(bytes("x")))).toBe(ErrProposalDropped);
  });

  it("are dropped by followers that don't forward", () => {
    const g = group(3, { disableProposalForwarding: true }).campaign(1);
    expect(thrownBy(() => g.at(2).node.propose(bytes("x")))).toBe(ErrProposalDropped);
  });
});

describe("asynchronous storage writes", () => {
  const member = (entries: Parameters<typeof storageOf>[1] = []) => {
    const storage = storageOf(voters(1, 2, 3), entries);
    return new Member(1n, storage, { asyncStorageWrites: true });
  };

  it("hand a vote to the candidate only with the write that makes it durable", () => {
    const { node } = member();
    node.step(newMessage({ type: MessageType.MsgVote, from: 2n, to: 1n, term: 1, logTerm: 0, index: 0 }));
    const { messages } = node.ready();
    expect(messages).toMatchObject([
      { type: MessageType.MsgStorageAppend, term: 1, vote: 2n, responses: [{ type: MessageType.MsgVoteResp, to: 2n }] },
    ]);
  });

  it("ignore the news of a write from an earlier term (the ABA race)", () => {
    const { node, storage } = member();
    const append = (from: bigint, term: number, entryTerm: number) => {
      node.step(
        newMessage({
          type: MessageType.MsgApp,
          from,
          to: 1n,
          term,
          index: 0,
          logTerm: 0,
          entries: [entry(entryTerm, 1)],
        }),
      );
      return node.ready().messages.find((m) => m.type === MessageType.MsgStorageAppend)!;
    };
    const own = (m: { responses?: readonly unknown[] | undefined }) => m.responses!.at(-1) as never;
    const first = append(2n, 1, 1);
    const second = append(3n, 2, 2);
    const third = append(2n, 3, 1);
    storage.append(first.entries);
    node.step(own(first));
    storage.append(second.entries);
    // For a moment storage has the entry of term 2; the log, term 1 as the present leader sent it.
    const probe = { type: MessageType.MsgApp, from: 2n, to: 1n, term: 3, index: 1, logTerm: 1 } as const;
    node.step(newMessage(probe));
    expect(node.ready().messages).toMatchObject([{ responses: [{ type: MessageType.MsgAppResp, reject: false }, {}] }]);
    node.step(own(second));
    storage.append(third.entries);
    node.step(own(third));
    node.step(newMessage(probe));
    expect(node.ready().messages).toMatchObject([{ responses: [{ type: MessageType.MsgAppResp, reject: false }] }]);
  });

  it("write again what a new leader replaced while it was being written", () => {
    const { node } = member();
    const app = { type: MessageType.MsgApp, to: 1n } as const;
    node.step(newMessage({ ...app, from: 2n, term: 1, entries: [entry(1, 1), entry(1, 2), entry(1, 3)] }));
    expect(node.ready().entries).toHaveLength(3);
    node.step(newMessage({ ...app, from: 3n, term: 2, index: 1, logTerm: 1, entries: [entry(2, 2)] }));
    expect(node.ready().entries).toEqual([entry(2, 2)]);
  });

  it("refuse advance", () => {
    expect(() => member().node.advance()).toThrow("Advance must not be called");
  });
});

describe("restart", () => {
  it("keeps term, vote, log and commit index, and applies nothing twice", () => {
    const g = group(3).campaign(1);
    g.propose(1, "a");
    const m = g.at(1);
    m.restart();
    expect(m).toMatchObject({ state: StateType.StateFollower, term: 1, commit: 2 });
    drain(m);
    g.campaign(2);
    g.propose(2, "b");
    expect(m.applied).toEqual(["a", "b"]);
  });

  it("with less than was acknowledged: a leader that saw the connection break sends it again", () => {
    const g = group(3).campaign(1);
    g.propose(1, "a").propose(1, "b").pass(1);
    const kept = g.at(3).entries().slice(0, -1);
    const torn = new Member(3n, storageOf(voters(1, 2, 3), kept, 1), {});
    const again = groupOf([g.at(1), g.at(2), torn]);
    g.at(1).node.reportLost(3n);
    g.at(1).node.reportLost(3n);
    expect(`${g.at(1).node.status().progress.get(3n)}`).toBe("StateProbe match=0 next=4");
    again.pass(2);
    expect(torn.entries()).toEqual(g.at(1).entries());
    expect(torn.applied).toEqual(["a", "b"]);
    again.propose(1, "c");
    expect(torn.applied).toEqual(["a", "b", "c"]);
  });
});
