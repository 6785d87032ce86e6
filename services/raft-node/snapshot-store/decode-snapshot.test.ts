import { Cluster, Node, RaftMember, Snapshot, StoreSnapshot, Task } from "@starling/api";
import fc from "fast-check";
import protobuf from "protobufjs/minimal.js";
import { describe, expect, it } from "vitest";
import { decodeSnapshot } from "./decode-snapshot.ts";

const membership = { members: [RaftMember.create({ raftId: 5n, nodeId: "n", addr: "a:1" })], removed: [7n, 2n ** 63n] };
const whole = Snapshot.create({
  membership,
  store: StoreSnapshot.create({
    nodes: [Node.create({ id: "n1", role: 1 })],
    tasks: Array.from({ length: 450 }, (_, i) => Task.create({ id: `t${i}`, slot: i, serviceId: "s".repeat(i % 200) })),
    clusters: [Cluster.create({ id: "c", blacklistedCertificates: { x: {} } })],
  }),
});
const encoded = Snapshot.encode(whole);

/** What the parts join to, and their sizes. */
function joined(chunks: readonly Uint8Array[]) {
  const lists: Record<string, unknown[]> = {};
  const sizes: number[] = [];
  let members: unknown;
  for (const part of decodeSnapshot(chunks)) {
    if (part.t === "membership") members = part.membership;
    else {
      const tables = Object.entries(part.store).filter(([, objects]) => Array.isArray(objects));
      sizes.push(tables.reduce((sum, [, objects]) => sum + objects.length, 0));
      for (const [table, objects] of tables) lists[table] = [...(lists[table] ?? []), ...objects];
    }
  }
  return { snapshot: { ...whole, membership: members, store: lists }, sizes };
}

describe("decodeSnapshot", () => {
  it("gives what was encoded, in parts, wherever the chunks are cut", () => {
    const cuts = fc.array(fc.integer({ min: 1, max: 5_000 }), { minLength: 1, maxLength: 10 });
    fc.assert(
      fc.property(cuts, (sizes) => {
        const chunks: Uint8Array[] = [];
        for (let at = 0, i = 0; at < encoded.length; i++) {
          const size = sizes[i % sizes.length]!;
          chunks.push(encoded.subarray(at, at + size), new Uint8Array(0));
          at += size;
        }
        const { snapshot, sizes: parts } = joined(chunks);
        expect(snapshot).toEqual(whole);
        expect(Math.max(...parts)).toBeLessThanOrEqual(200);
      }),
      { numRuns: 50 },
    );
  });

  it("passes over fields that it does not know, and joins a store that stands there twice", () => {
    const unknown = protobuf.Writer.create();
    unknown.uint32((9 << 3) | 0).uint64(2 ** 52);
    unknown.uint32((10 << 3) | 1).double(1.5);
    unknown.uint32((11 << 3) | 2).string("later");
    unknown.uint32((12 << 3) | 5).float(2);
    const more = Snapshot.encode(
      Snapshot.create({ store: StoreSnapshot.create({ nodes: [Node.create({ id: "n2" })] }) }),
    );
    const { snapshot } = joined([unknown.finish(), encoded, more]);
    expect((snapshot.store as { nodes: Node[] }).nodes.map(({ id }) => id)).toEqual(["n1", "n2"]);
  });

  it("holds nothing of the chunks' memory", () => {
    const node = Node.create({
      id: "n",
      certificate: { ...Node.create().certificate, csr: new Uint8Array(100).fill(7) },
    });
    const chunk = Uint8Array.from(Snapshot.encode(Snapshot.create({ store: StoreSnapshot.create({ nodes: [node] }) })));
    const [, part] = [...decodeSnapshot([chunk])];
    chunk.fill(0);
    expect(part?.t === "store" && part.store.nodes[0]).toEqual(node);
  });

  it("refuses what is cut short, and a newer version", () => {
    const small = Snapshot.encode({ ...whole, store: StoreSnapshot.create({ nodes: [...whole.store.nodes] }) });
    for (let end = 1; end < small.length; end++) {
      try {
        // What ends between two fields is whole, as far as anybody can tell.
        const parts = [...decodeSnapshot([small.subarray(0, end)])];
        expect(
          parts.every(({ t }) => t === "membership"),
          `cut at ${end}`,
        ).toBe(true);
      } catch (thrown) {
        expect(thrown).toMatchObject({ code: "DataLoss", message: expect.stringMatching(/cannot be decoded at byte/) });
      }
    }
    expect(() => [...decodeSnapshot([Uint8Array.of(0x08, 1)])]).toThrowError(/version 1/);
    expect(() => [...decodeSnapshot([Buffer.from("no snapshot at all")])]).toThrowError(/cannot be decoded/);
  });
});
