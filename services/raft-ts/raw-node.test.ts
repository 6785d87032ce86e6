import { describe, expect, it } from "vitest";
import type { Config } from "./config.ts";
import { describeReady } from "./describe.ts";
import { ErrCompacted, ErrSnapOutOfDate, ErrStepLocalMsg, ErrStepPeerNotFound, ErrUnavailable } from "./errors.ts";
import { MemoryStorage } from "./memory-storage.ts";
import { RawNode } from "./raw-node.ts";
import { bytes, defaultConfig, drain, entry, group, Member, storageOf, voters } from "./test-group.ts";
import {
  EntryType,
  emptyConfState,
  LocalAppendThread,
  MessageType,
  newMessage,
  noData,
  ReadOnlyOption,
} from "./types.ts";

const base: Config = { ...defaultConfig, id: 1n, storage: new MemoryStorage(), random: () => 0 };

describe("config", () => {
  it.each<[string, Partial<Config>]>([
    ["id=0", { id: 0n }],
    ["id=18446744073709551615", { id: LocalAppendThread }],
    ["electionTick=1", { electionTick: 1 }],
    ["heartbeatTick=0", { heartbeatTick: 0 }],
    ["maxInflightMsgs=0", { maxInflightMsgs: 0 }],
    ["maxInflightBytes=5", { maxInflightBytes: 5, maxSizePerMsg: 6 }],
    ["readOnlyOption=ReadOnlyLeaseBased", { readOnlyOption: ReadOnlyOption.ReadOnlyLeaseBased }],
    ["maxSizePerMsg=0.5", { maxSizePerMsg: 0.5 }],
  ])("%s is refused by name", (text, fields) => {
    expect(() => new RawNode({ ...base, ...fields })).toThrow(`raft config ${text}`);
  });

  it("a hard state that the log cannot have is refused at the start", () => {
    const storage = storageOf(voters(1), [entry(1, 1)]);
    storage.setHardState({ term: 1, vote: 1n, commit: 2 });
    expect(() => new RawNode({ ...base, storage })).toThrow("state.commit 2 is out of range [0, 1]");
  });
});

describe("bootstrap", () => {
  it("commits one conf change per peer, in term 1", () => {
    const m = new Member(1n, new MemoryStorage(), {});
    m.node.bootstrap([{ id: 1n, context: bytes("a") }, { id: 2n }]);
    drain(m);
    expect(m.entries()).toMatchObject([
      { index: 1, term: 1, type: EntryType.EntryConfChange },
      { index: 2, term: 1, type: EntryType.EntryConfChange },
    ]);
    expect(m.node.status().config.voters.incoming).toEqual(new Set([1n, 2n]));
    expect(() => m.node.bootstrap([{ id: 1n }])).toThrow("can't bootstrap a nonempty storage (last index 2)");
  });
});

describe("step", () => {
  it("refuses local messages from the network, and answers of strangers", () => {
    const { node } = group(3).at(1);
    expect(() => node.step(newMessage({ type: MessageType.MsgHup, from: 2n }))).toThrow(ErrStepLocalMsg);
    expect(() => node.step(newMessage({ type: MessageType.MsgAppResp, from: 9n, term: 1 }))).toThrow(
      ErrStepPeerNotFound,
    );
  });

  it("refuses malformed proposals without harm", () => {
    const g = group(3).campaign(1);
    const { node } = g.at(1);
    const garbage = { term: 0, index: 0, type: EntryType.EntryConfChangeV2, data: bytes("garbage") };
    expect(() => node.step(newMessage({ type: MessageType.MsgProp, from: 2n }))).toThrow("empty MsgProp");
    expect(() => node.step(newMessage({ type: MessageType.MsgProp, from: 2n, entries: [garbage] }))).toThrow(
      "cannot decode",
    );
    g.propose(1, "goes on");
    expect(g.at(2).applied).toEqual(["goes on"]);
  });

  it.each([
    { why: "term=9007199254740992 is not", fields: { term: 2 ** 53 } },
    { why: "index=-1 is not", fields: { index: -1 } },
    { why: "entry 1/3 cannot follow 0/0", fields: { entries: [entry(1, 3)] } },
    { why: "entry 1/2 cannot follow 2/1", fields: { term: 2, entries: [entry(2, 1), entry(1, 2)] } },
    { why: "entry 3/1 is of a later term than 1", fields: { entries: [entry(3, 1)] } },
  ])("refuses a MsgApp where $why", ({ why, fields }) => {
    const { node } = group(3).at(1);
    const app = newMessage({ type: MessageType.MsgApp, from: 2n, to: 1n, term: 1, ...fields });
    expect(() => node.step(app)).toThrow(`malformed MsgApp from 2: ${why}`);
    expect(node.basicStatus().hardState.term).toBe(0);
  });

  it("a commit index beyond the log stops the node", () => {
    const { node } = group(3).at(1);
    expect(() => node.step(newMessage({ type: MessageType.MsgHeartbeat, from: 2n, term: 1, commit: 7 }))).toThrow(
      "tocommit(7) is out of range [lastIndex(0)]",
    );
  });
});

describe("ready", () => {
  it("is taken once, and must be advanced before the next", () => {
    const m = new Member(1n, storageOf(voters(1)), {});
    m.node.campaign();
    expect(describeReady(m.node.ready())).toBe(
      "Ready MustSync=true:\nLead:0 State:StateCandidate\nHardState Term:1 Vote:1 Commit:0\n",
    );
    expect(() => m.node.ready()).toThrow("two accepted Ready structs");
  });

  it("never changes what it handed out before", () => {
    const m = new Member(1n, storageOf(voters(1)), {});
    m.node.campaign();
    drain(m);
    m.node.propose(bytes("a"));
    const rd = m.node.ready();
    const before = describeReady(rd);
    m.storage.append(rd.entries);
    m.node.advance();
    m.node.propose(bytes("b"));
    drain(m);
    expect(describeReady(rd)).toBe(before);
  });
});

describe("MemoryStorage", () => {
  const filled = () => {
    const storage = new MemoryStorage();
    storage.append([entry(1, 1), entry(1, 2), entry(2, 3), entry(2, 4)]);
    return storage;
  };

  it("overwrites from the first new index on", () => {
    const storage = filled();
    storage.append([entry(3, 3)]);
    expect([storage.lastIndex(), storage.term(3)]).toEqual([3, 3]);
    expect(() => storage.append([entry(3, 5)])).toThrow("missing log entry [last: 3, append at: 5]");
  });

  it("keeps the term of the last compacted entry, and nothing else of it", () => {
    const storage = filled();
    storage.compact(2);
    expect([storage.firstIndex(), storage.term(2)]).toEqual([3, 1]);
    expect(() => storage.entries(2, 4, 100)).toThrow(ErrCompacted);
    expect(() => storage.term(1)).toThrow(ErrCompacted);
    expect(() => storage.term(5)).toThrow(ErrUnavailable);
    expect(() => storage.compact(2)).toThrow(ErrCompacted);
    storage.append([entry(1, 1), entry(1, 2), entry(9, 3)]);
    expect([storage.lastIndex(), storage.term(3)]).toEqual([3, 9]);
  });

  it("refuses snapshots older than its own", () => {
    const storage = filled();
    const snapshot = storage.createSnapshot(3, emptyConfState, noData);
    expect(snapshot.metadata).toMatchObject({ index: 3, term: 2 });
    expect(() => storage.createSnapshot(3, undefined, noData)).toThrow(ErrSnapOutOfDate);
    expect(() => storage.applySnapshot(snapshot)).toThrow(ErrSnapOutOfDate);
  });
});

describe("ticksToWork", () => {
  const roles: readonly (readonly [string, (m: Member) => void])[] = [
    ["follower", () => undefined],
    ["candidate", (m) => m.node.campaign()],
    ["leader", (m) => elect(m)],
  ];
  it.each(roles)("says how many ticks a %s's next work is away: the ones before do nothing", (_role, become) => {
    const m = group(3, { heartbeatTick: 3, checkQuorum: true, random: () => 0.5 }).at(1);
    become(m);
    drain(m);
    for (let round = 0; round < 5; round++) {
      const role = m.node.status().softState.raftState;
      for (let left = m.node.ticksToWork(); left > 1; left--) {
        expect(m.node.ticksToWork()).toBe(left);
        m.node.tick();
        expect(m.node.hasReady()).toBe(false);
      }
      m.node.tick();
      expect(m.node.hasReady() || m.node.status().softState.raftState !== role).toBe(true);
      drain(m);
    }
  });

  it("is Infinity for who may not be elected", () => {
    const learner = new Member(2n, storageOf({ ...voters(1), learners: [2n] }), {});
    expect(learner.node.ticksToWork()).toBe(Number.POSITIVE_INFINITY);
  });
});

/** Makes `m` the leader of its group of three, by the vote of member 2. */
function elect(m: Member): void {
  m.node.campaign();
  drain(m);
  const term = m.node.status().hardState.term;
  m.node.step(newMessage({ type: MessageType.MsgVoteResp, from: 2n, to: 1n, term }));
}
