import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Changer, type Membership } from "./confchange/changer.ts";
import { RaftLog } from "./log.ts";
import { silentLogger } from "./logger.ts";
import { MemoryStorage } from "./memory-storage.ts";
import { jointCommittedIndex, jointVoteResult } from "./quorum/joint.ts";
import { majorityCommittedIndex, majorityVoteResult, VoteResult } from "./quorum/majority.ts";
import { entry } from "./test-group.ts";
import { Inflights } from "./tracker/inflights.ts";
import { emptyTrackerConfig } from "./tracker/tracker.ts";
import { type ConfChangeSingle, ConfChangeType, type Entry, noLimit } from "./types.ts";
import { entriesSize } from "./wire.ts";

// Each against a slow and obvious model.

const ids = fc.uniqueArray(fc.bigInt({ min: 1n, max: 9n }), { maxLength: 7 }).map((list) => new Set(list));
const acks = fc.dictionary(fc.constantFrom(..."123456789"), fc.integer({ min: 1, max: 20 }));
const votes = fc
  .dictionary(fc.constantFrom(..."123456789"), fc.boolean())
  .map((d) => new Map(Object.entries(d).map(([id, vote]) => [BigInt(id), vote])));

describe("quorum", () => {
  const slowCommitted = (config: Set<bigint>, acked: Record<string, number>): number => {
    if (config.size === 0) return Number.POSITIVE_INFINITY;
    let index = 0;
    const reached = (i: number) => [...config].filter((id) => (acked[String(id)] ?? 0) >= i).length;
    while (reached(index + 1) > config.size / 2) index++;
    return index;
  };

  it("commits the largest index that more than half have reached", () => {
    fc.assert(
      fc.property(ids, acks, (config, acked) => {
        expect(majorityCommittedIndex(config, (id) => acked[String(id)])).toBe(slowCommitted(config, acked));
      }),
    );
  });

  it("commits jointly what both halves commit", () => {
    fc.assert(
      fc.property(ids, ids, acks, (incoming, outgoing, acked) => {
        const both = Math.min(slowCommitted(incoming, acked), slowCommitted(outgoing, acked));
        expect(jointCommittedIndex({ incoming, outgoing }, (id) => acked[String(id)])).toBe(both);
      }),
    );
  });

  it("decides a vote as soon as no further vote can change it", () => {
    // By trying every way in which the missing votes may go.
    const possible = (config: Set<bigint>, cast: Map<bigint, boolean>): Set<boolean> => {
      const missing = [...config].filter((id) => !cast.has(id));
      const outcomes = new Set<boolean>();
      for (let bits = 0; bits < 2 ** missing.length; bits++) {
        const yes = [...config].filter((id) => cast.get(id) ?? (bits >> missing.indexOf(id)) % 2 === 1).length;
        outcomes.add(config.size === 0 || yes > config.size / 2);
      }
      return outcomes;
    };
    const decided = (outcomes: Set<boolean>): VoteResult => {
      if (outcomes.size === 2) return VoteResult.VotePending;
      return outcomes.has(true) ? VoteResult.VoteWon : VoteResult.VoteLost;
    };
    fc.assert(
      fc.property(ids, ids, votes, (incoming, outgoing, cast) => {
        const halves = [decided(possible(incoming, cast)), decided(possible(outgoing, cast))];
        expect(majorityVoteResult(incoming, cast)).toBe(halves[0]);
        const lost = halves.includes(VoteResult.VoteLost);
        const won = halves.every((half) => half === VoteResult.VoteWon);
        const jointly = lost ? VoteResult.VoteLost : won ? VoteResult.VoteWon : VoteResult.VotePending;
        expect(jointVoteResult({ incoming, outgoing }, cast)).toBe(jointly);
      }),
    );
  });
});

describe("inflights", () => {
  it("is a bounded queue of (index, bytes)", () => {
    const ops = fc.array(
      fc.oneof(
        fc.record({ t: fc.constant("add" as const), step: fc.nat(3), bytes: fc.nat(20) }),
        fc.record({ t: fc.constant("free" as const), back: fc.nat(10) }),
        fc.record({ t: fc.constant("reset" as const) }),
      ),
      { maxLength: 60 },
    );
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9 }), fc.nat(50), ops, (countMax, bytesMax, list) => {
        let window = new Inflights(countMax, bytesMax);
        let model: { index: number; bytes: number }[] = [];
        let index = 1;
        for (const op of list) {
          if (op.t === "add" && !window.isFull()) {
            index += op.step;
            window.add(index, op.bytes);
            model.push({ index, bytes: op.bytes });
          } else if (op.t === "free") {
            window.freeLE(index - op.back);
            model = model.filter((m) => m.index > index - op.back);
          } else if (op.t === "reset") {
            window.reset();
            model = [];
          }
          window = window.clone();
          const bytes = model.reduce((sum, m) => sum + m.bytes, 0);
          expect([window.count, window.bytes]).toEqual([model.length, bytes]);
          expect(window.isFull()).toBe(model.length === countMax || (bytesMax > 0 && bytes >= bytesMax));
        }
      }),
    );
  });
});

describe("raft log", () => {
  /** What a well-behaved leader of `term` may send: a slice that continues the log at some index. */
  const op = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        t: fc.constant("append" as const),
        back: fc.nat(6),
        count: fc.nat(5),
        newTerm: fc.boolean(),
      }),
    },
    { weight: 2, arbitrary: fc.record({ t: fc.constant("write" as const) }) },
    { weight: 2, arbitrary: fc.record({ t: fc.constant("commit" as const), ahead: fc.nat(5) }) },
    { weight: 1, arbitrary: fc.record({ t: fc.constant("compact" as const), ahead: fc.nat(5) }) },
  );

  it("reads like one array, wherever the boundary between stable and unstable lies", () => {
    fc.assert(
      fc.property(fc.array(op, { maxLength: 40 }), fc.nat(60), (ops, maxSize) => {
        const storage = new MemoryStorage();
        const log = new RaftLog(storage, silentLogger, noLimit);
        let model: Entry[] = [];
        let compacted = 0;
        let term = 1;
        for (const o of ops) {
          if (o.t === "append") {
            if (o.newTerm) term++;
            const prevIndex = Math.max(log.committed, log.lastIndex() - o.back);
            const prev = { index: prevIndex, term: log.term(prevIndex)! };
            const entries = Array.from({ length: o.count }, (_, i) => entry(term, prevIndex + 1 + i, `${term}`));
            expect(log.maybeAppend({ term, prev, entries }, 0)).toBe(prevIndex + o.count);
            // Entries that are there already are not truncated; those that conflict are.
            const conflict = entries.find((e) => model[e.index - 1]?.term !== e.term);
            if (conflict !== undefined)
              model = [...model.slice(0, conflict.index - 1), ...entries.slice(conflict.index - entries[0]!.index)];
          } else if (o.t === "write") {
            storage.append(log.unstable.nextEntries());
            log.unstable.acceptInProgress();
            if (log.unstable.entries.length > 0) log.unstable.stableTo(log.lastEntryId());
          } else if (o.t === "commit") {
            log.commitTo(Math.min(log.lastIndex(), log.committed + o.ahead));
          } else {
            const to = Math.min(storage.lastIndex(), log.unstable.offset - 1, log.committed, compacted + o.ahead);
            if (to > compacted) {
              storage.compact(to);
              compacted = to;
            }
          }
          expect(log.lastIndex()).toBe(model.length);
          expect(log.firstIndex()).toBe(compacted + 1);
          expect(log.entries(compacted + 1, noLimit)).toEqual(model.slice(compacted));
          expect(log.term(model.length)).toBe(model.at(-1)?.term ?? 0);
          expect(log.term(model.length + 1)).toBeUndefined();
          if (compacted > 0) expect(log.slice(compacted, model.length + 1, noLimit)).toBeUndefined();
          const limited = log.entries(compacted + 1, maxSize)!;
          expect(limited).toEqual(model.slice(compacted, compacted + limited.length));
          expect(limited.length <= 1 || entriesSize(limited) <= maxSize).toBe(true);
          const more = model.slice(compacted, compacted + limited.length + 1);
          expect(more.length === limited.length || more.length === 1 || entriesSize(more) > maxSize).toBe(true);
        }
      }),
    );
  });
});

describe("Raft thesis §4: conf changes", () => {
  type Model = { readonly voters: Set<bigint>; readonly learners: Set<bigint> };
  const { ConfChangeAddNode, ConfChangeAddLearnerNode, ConfChangeRemoveNode, ConfChangeUpdateNode } = ConfChangeType;
  const change = fc.record({
    type: fc.constantFrom(ConfChangeAddNode, ConfChangeAddLearnerNode, ConfChangeRemoveNode, ConfChangeUpdateNode),
    nodeId: fc.bigInt({ min: 0n, max: 6n }),
  });

  /** By definition: what each change says of its node, one after the other. */
  function modelOf(start: Model, changes: readonly ConfChangeSingle[]): Model {
    const model = { voters: new Set(start.voters), learners: new Set(start.learners) };
    for (const { type, nodeId } of changes) {
      if (nodeId === 0n || type === ConfChangeUpdateNode) continue;
      model.voters.delete(nodeId);
      if (type === ConfChangeAddLearnerNode) model.learners.add(nodeId);
      else model.learners.delete(nodeId);
      if (type === ConfChangeAddNode) model.voters.add(nodeId);
    }
    return model;
  }

  it("one by one, or jointly and left again, they lead to what they say; halfway, to both", () => {
    const changer = new Changer({ inflightMsgsMax: 10, inflightBytesMax: 0, lastIndex: 10 });
    fc.assert(
      fc.property(
        fc.array(change, { maxLength: 8 }),
        fc.array(change, { minLength: 1, maxLength: 8 }),
        (setup, changes) => {
          const none: Model = { voters: new Set(), learners: new Set() };
          const first: ConfChangeSingle = { type: ConfChangeAddNode, nodeId: 7n };
          const start = modelOf(none, [first, ...setup]);
          const end = modelOf(start, changes);
          const empty = { config: emptyTrackerConfig, progress: new Map() };
          let membership = [first, ...setup].reduce((m, each) => changer.simple(m, [each]), empty as Membership);
          const plain = (m: Membership) => ({ voters: m.config.voters.incoming, learners: m.config.learners });
          expect(plain(membership)).toEqual(start);
          // Nobody removes 7: there is always a voter.
          const joint = changer.enterJoint(membership, changes, false);
          expect(joint.config.voters).toEqual({ incoming: end.voters, outgoing: start.voters });
          expect(joint.config.learnersNext).toEqual(new Set([...end.learners].filter((id) => start.voters.has(id))));
          expect(joint.config.learners).toEqual(new Set([...end.learners].filter((id) => !start.voters.has(id))));
          const left = changer.leaveJoint(joint);
          expect(plain(left)).toEqual(end);
          expect([left.config.voters.outgoing.size, left.config.learnersNext.size]).toEqual([0, 0]);
          for (const each of changes) membership = changer.simple(membership, [each]);
          expect(plain(membership)).toEqual(end);
          expect(new Set(left.progress.keys())).toEqual(new Set([...end.voters, ...end.learners]));
        },
      ),
    );
  });
});
