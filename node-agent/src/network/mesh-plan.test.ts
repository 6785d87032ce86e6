import { describe, expect, it } from "vitest";
import { meshShortcuts } from "./mesh-plan.ts";

const place = {
  indexes: new Map([
    ["eth0", 2],
    ["starling-mesh", 3],
    ["sr-one", 0x01020304],
  ]),
  clientDevices: ["eth0"],
  patience: { silentMs: 1_000, unacknowledgedMs: 256 },
};
const items = {
  meshSelf: new Map([["10.255.0.2", true as const]]),
  farTasks: new Map([["10.255.0.7", "10.255.0.3"]]),
  nearTasks: new Map([
    ["10.255.0.8", "sr-one"],
    ["10.255.0.9", "sr-comes"],
  ]),
  entryNodes: new Map([[String(0x50000003), "10.255.0.3"]]),
};
const none = { meshSelf: new Map(), farTasks: new Map(), nearTasks: new Map(), entryNodes: new Map() };

describe("shortcuts of the mesh", () => {
  it("know tasks elsewhere by their nodes, those here by their devices, and nodes by their marks", () => {
    expect(meshShortcuts.entries(items, place)).toEqual({
      mesh: new Map([["00000000", "03000000" + "0aff0002" + "e8030000" + "00010000"]]),
      far: new Map([["0aff0007", "0aff0003"]]),
      near: new Map([["0aff0008", "04030201"]]),
      owners: new Map([["04030201", "0aff0008"]]),
      nodes: new Map([["03000050", "0aff0003"]]),
      cards: new Map([["02000000", "01000000"]]),
    });
  });

  it("are at the mesh's device, where clients come in, and at tasks that are there", () => {
    expect(meshShortcuts.programs(items, place)).toEqual(
      new Map([
        [3, "mesh"],
        [2, "card"],
        [0x01020304, "routed"],
      ]),
    );
  });

  it("are where they are of use alone: no card has one for tasks that are all here, no device for none", () => {
    const at = (some: Partial<typeof items>) => [...meshShortcuts.programs({ ...items, ...some }, place).values()];
    expect(at({ farTasks: new Map() })).toEqual(["mesh", "routed"]);
    expect(at({ nearTasks: new Map() })).toEqual(["mesh", "card"]);
    expect(at({ farTasks: new Map(), nearTasks: new Map() })).toEqual([]);
  });

  it.each([
    ["the node has no address in the mesh", { ...items, meshSelf: new Map() }, place],
    ["the mesh has no device", items, { ...place, indexes: new Map([["eth0", 2]]) }],
    ["nothing is wanted", none, place],
  ])("are nowhere, and have no settings, where %s", (_, some, at) => {
    expect(meshShortcuts.programs(some, at).size).toBe(0);
    expect(meshShortcuts.entries(some, at).mesh).toEqual(new Map([["00000000", "00".repeat(16)]]));
  });

  it("forward nothing where conntrack is not there to say for how long", () => {
    const { mesh } = meshShortcuts.entries(items, { ...place, patience: undefined });
    expect(mesh).toEqual(new Map([["00000000", "00".repeat(16)]]));
  });

  it("may be at any device but those of overlay networks and of the encrypted mesh", () => {
    const names = ["eth0", "starling-mesh", "sr-one", "starling-safe", "so0-one", "sx-net", "sb-net"];
    expect(names.filter(meshShortcuts.mayHave)).toEqual(["eth0", "starling-mesh", "sr-one"]);
  });
});
