import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ErrProposalDropped } from "./errors.ts";
import { bytes, type Group, group, type Member, type Options } from "./test-group.ts";

// Raft paper figure 3: the safety properties, in groups to which anything happens that an asynchronous network and
// crashing nodes can do.

type NodeOp = { readonly t: "tick" | "restart" | "campaign" | "ready" | "propose"; readonly node: number };
type NetworkOp = { readonly t: "deliver" | "drop" | "duplicate"; readonly at: number };
type Op = NodeOp | NetworkOp;

const size = 3;
const node = fc.integer({ min: 1, max: size });
const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ t: fc.constant("ready" as const), node }) },
  { weight: 10, arbitrary: fc.record({ t: fc.constant("deliver" as const), at: fc.nat(1_000) }) },
  { weight: 3, arbitrary: fc.record({ t: fc.constant("propose" as const), node }) },
  { weight: 3, arbitrary: fc.record({ t: fc.constant("tick" as const), node }) },
  { weight: 1, arbitrary: fc.record({ t: fc.constantFrom("restart" as const, "campaign" as const), node }) },
  { weight: 1, arbitrary: fc.record({ t: fc.constantFrom("drop" as const, "duplicate" as const), at: fc.nat(1_000) }) },
);

class Checker {
  readonly #group: Group;
  readonly #leaderOf = new Map<number, bigint>();
  /** What was ever committed: term of each index. */
  readonly #committed = new Map<number, number>();

  constructor(g: Group) {
    this.#group = g;
  }

  check(): void {
    const members = [...this.#group.members.values()];
    for (const m of members) {
      if (m.isLeader()) {
        const known = this.#leaderOf.get(m.term) ?? m.id;
        expect(m.id, `election safety: one leader in term ${m.term}`).toBe(known);
        this.#leaderOf.set(m.term, m.id);
      }
      // What the storage holds of the committed prefix; the rest may still be in memory.
      const entries = m.entries();
      for (const e of entries.slice(0, m.storage.initialState().hardState!.commit)) {
        const known = this.#committed.get(e.index) ?? e.term;
        expect(e.term, `state machine safety: one entry at index ${e.index}`).toBe(known);
        this.#committed.set(e.index, e.term);
      }
    }
    for (const a of members) {
      for (const b of members) {
        if (a.id >= b.id) continue;
        const [left, right] = [a.entries(), b.entries()];
        let same = Math.min(left.length, right.length);
        while (same > 0 && left[same - 1]!.term !== right[same - 1]!.term) same--;
        // Log matching: equal (index, term) means equal prefixes.
        expect(left.slice(0, same)).toEqual(right.slice(0, same));
        const shorter = a.applied.length < b.applied.length ? a : b;
        const longer = shorter === a ? b : a;
        expect(longer.applied.slice(0, shorter.applied.length)).toEqual(shorter.applied);
      }
    }
  }
}

let proposals = 0;

/** The network's part. */
function disturb(g: Group, t: "deliver" | "drop" | "duplicate", at: number): void {
  if (g.inFlight.length === 0) return;
  const i = at % g.inFlight.length;
  const m = g.inFlight[i]!;
  if (t !== "duplicate") g.inFlight.splice(i, 1);
  if (t !== "drop") g.deliver(m);
}

/** A node's part. */
function act(g: Group, t: NodeOp["t"], member: Member): void {
  switch (t) {
    case "tick":
      member.node.tick();
      return;
    case "campaign":
      member.node.campaign();
      return;
    case "restart":
      member.restart();
      return;
    case "ready":
      g.inFlight.push(...member.handleReady());
      return;
    case "propose":
      try {
        member.node.propose(bytes(`p${proposals++}`));
      } catch (err) {
        if (err !== ErrProposalDropped) throw err;
      }
  }
}

function perform(g: Group, o: Op): void {
  if ("at" in o) disturb(g, o.t, o.at);
  else act(g, o.t, g.at(o.node));
}

describe("Raft paper figure 3: safety", () => {
  it.each<[string, Options]>([
    ["plain", {}],
    ["PreVote and CheckQuorum", { preVote: true, checkQuorum: true }],
    ["small messages and windows", { maxSizePerMsg: 0, maxCommittedSizePerReady: 8, maxInflightMsgs: 2 }],
  ])(
    "%s: one leader a term, matching logs, one history",
    (_, options) => {
      fc.assert(
        fc.property(fc.array(op, { minLength: 200, maxLength: 400, size: "max" }), (ops) => {
          const g = group(size, { electionTick: 4, ...options });
          const checker = new Checker(g);
          for (const o of ops) {
            perform(g, o);
            checker.check();
          }
          // And it recovers: with all messages and time, everyone agrees.
          g.settle().pass(40);
          g.propose(g.leaders()[0]!, "last");
          g.pass(3);
          checker.check();
          for (const m of g.members.values()) expect(m.applied.at(-1)).toBe("last");
        }),
        { numRuns: 25, endOnFailure: true },
      );
    },
    60_000,
  );
});
