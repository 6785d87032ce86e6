import { ConfChangeType } from "raft-ts";
import { describe, expect, it } from "vitest";
import { memberAddress } from "./join.ts";
import { keepsQuorumWithout, type Member, Membership, memberChange } from "./membership.ts";

const member = (raftId: bigint, addr = `10.0.0.${raftId}:4242`): Member => ({ raftId, nodeId: `node-${raftId}`, addr });
const add = (m: Member) => memberChange(ConfChangeType.ConfChangeAddNode, m);
const remove = (raftId: bigint) => ({ type: ConfChangeType.ConfChangeRemoveNode, nodeId: raftId });

describe("Membership", () => {
  it("adds, moves and removes; a removed id never comes back", () => {
    const membership = new Membership();
    expect(membership.apply(add(member(1n)))).toEqual({ t: "added", member: member(1n) });
    expect(membership.apply(add(member(2n))).t).toBe("added");
    const moved = memberChange(ConfChangeType.ConfChangeUpdateNode, member(2n, "10.9.9.9:1"));
    expect(membership.apply(moved)).toEqual({ t: "updated", member: member(2n, "10.9.9.9:1") });
    expect(membership.byNodeId("node-2")?.addr).toBe("10.9.9.9:1");
    expect(membership.apply(remove(2n)).t).toBe("removed");
    expect(membership.apply(remove(2n)).t).toBe("refused");
    expect(membership.apply(add(member(2n)))).toMatchObject({ t: "refused", explain: /was removed/ });
    expect(membership.list()).toEqual([member(1n)]);
  });

  it("survives a snapshot, removed ids too", () => {
    const membership = new Membership();
    for (const id of [1n, 2n, 3n]) membership.apply(add(member(id)));
    membership.apply(remove(3n));
    const restored = new Membership();
    restored.restore(membership.snapshot());
    expect(restored.list()).toEqual(membership.list());
    expect(restored.isRemoved(3n)).toBe(true);
  });
});

describe("keepsQuorumWithout", () => {
  const members = (count: number) => Array.from({ length: count }, (_, i) => member(BigInt(i + 1)));
  it.each([
    { count: 3, remove: 3n, down: [], ok: true },
    { count: 3, remove: 3n, down: [3n], ok: true },
    { count: 3, remove: 3n, down: [2n], ok: false },
    { count: 2, remove: 2n, down: [2n], ok: true },
    { count: 1, remove: 1n, down: [], ok: false },
    { count: 5, remove: 5n, down: [4n], ok: true },
    { count: 5, remove: 5n, down: [3n, 4n], ok: false },
  ])("of $count members without $remove while $down are down: $ok", ({ count, remove: raftId, down, ok }) => {
    const reachable = (id: bigint) => !(down as bigint[]).includes(id);
    expect(keepsQuorumWithout(members(count), raftId, reachable)).toBe(ok);
  });
});

describe("memberAddress", () => {
  it.each([
    ["10.0.0.5:4242", "10.9.9.9:5000", "10.0.0.5:4242"],
    ["m2.example:4242", "10.9.9.9:5000", "m2.example:4242"],
    ["0.0.0.0:4242", "10.9.9.9:5000", "10.9.9.9:4242"],
    ["[::]:4242", "10.9.9.9:5000", "10.9.9.9:4242"],
    ["0.0.0.0:4242", "[::ffff:10.9.9.9]:5000", "10.9.9.9:4242"],
    ["[::]:4242", "[fd00::7]:5000", "[fd00::7]:4242"],
    ["[::]:4242", "fd00::7:5000", "[fd00::7]:4242"],
  ])("%s asked by %s is %s", (addr, remote, expected) => {
    expect(memberAddress(addr, remote)).toBe(expected);
  });

  it("names what is wrong with an address", () => {
    expect(() => memberAddress("nonsense", "10.9.9.9:5000")).toThrow(/invalid address nonsense .*host:port/);
  });
});
