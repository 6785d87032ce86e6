import { RaftMember, Snapshot } from "@starling/api";
import { type ConfChange, ConfChangeType, decodeConfChange, type Entry, EntryType, encodeConfChange } from "raft-ts";
import { describe, expect, it } from "vitest";
import { describeForcedLog, planForcedLog } from "./force-new-cluster.ts";
import { memberChange } from "./membership/membership.ts";

const { ConfChangeAddNode: add, ConfChangeAddLearnerNode: learn, ConfChangeRemoveNode: remove } = ConfChangeType;
const member = (raftId: bigint) => ({ raftId, nodeId: `n${raftId}`, addr: `10.0.0.${raftId}:4242` });
const joins = (raftId: bigint, type: ConfChangeType = add) => memberChange(type, member(raftId));
const leaves = (raftId: bigint): ConfChange => ({ type: remove, nodeId: raftId });

/** A log of n1 (or `owner`) that begins at `first` and was committed up to `commit` as far as it knew. */
function log(changes: readonly (ConfChange | "write")[], { first = 1, commit = 0, owner = 1n } = {}) {
  const entries = changes.map((change, i): Entry => {
    const index = first + i;
    if (change === "write") return { term: 2, index, type: EntryType.EntryNormal, data: new Uint8Array(3) };
    return { term: 2, index, type: EntryType.EntryConfChange, data: encodeConfChange(change) };
  });
  const identity = RaftMember.create(member(owner));
  return { identity, joined: undefined, hardState: { term: 2, vote: 1n, commit }, mark: undefined, entries };
}

const planned = (entries: readonly Entry[]) =>
  entries.map(({ index, data }) => {
    const { type, nodeId } = decodeConfChange(data);
    return `${index} ${type === remove ? "removes" : "adds"} n${nodeId}`;
  });

describe("--force-new-cluster", () => {
  it("removes everybody else who is a member in the end, and says so", () => {
    const contents = log([joins(1n), joins(2n), joins(3n), leaves(2n), joins(4n, learn), "write", "write"], {
      commit: 5,
    });
    const plan = planForcedLog(contents, undefined);
    expect(planned(plan.changes)).toEqual(["8 removes n3", "9 removes n4"]);
    expect(plan.hardState).toEqual({ term: 2, vote: 1n, commit: 9 });
    const text = describeForcedLog(plan, contents.identity);
    expect(text).toMatch(
      /manager n1 goes on alone from entry 7; drops these managers for ever: n3 \(10\.0\.0\.3:4242\), n4/,
    );
    expect(text).toMatch(/2 entries whose outcome was unknown are kept/);
  });

  it("goes on from the members of a snapshot", () => {
    const membership = { members: [1n, 2n, 3n].map((id) => RaftMember.create(member(id))), removed: [] };
    const confState = { voters: [1n, 2n], learners: [3n], votersOutgoing: [], learnersNext: [], autoLeave: false };
    const chunks = [Snapshot.encode(Snapshot.create({ membership }))];
    const contents = log([joins(9n), "write", leaves(2n)], { first: 9, commit: 11 });
    const plan = planForcedLog(contents, { metadata: { index: 10, term: 2, confState }, chunks });
    expect(planned(plan.changes)).toEqual(["12 removes n3"]);
    expect(plan.uncertainEntries).toBe(0);
  });

  it("gives its owner the vote that he had not got yet", () => {
    const contents = log([joins(1n), joins(2n, learn)], { owner: 2n });
    expect(planned(planForcedLog(contents, undefined).changes)).toEqual(["3 adds n2", "4 removes n1"]);
  });

  it("refuses for a manager that was removed", () => {
    const contents = log([joins(1n), joins(2n), leaves(2n)], { owner: 2n });
    expect(() => planForcedLog(contents, undefined)).toThrow(/manager n2 was removed from its cluster/);
  });
});
