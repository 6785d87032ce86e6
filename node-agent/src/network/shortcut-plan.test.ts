import type { ShortcutChange } from "@starling/native/net";
import { describe, expect, it } from "vitest";
import { framesAreJudged } from "./frame-rules.ts";
import { noShortcuts, planShortcuts, type ShortcutState, wantedShortcuts } from "./shortcut-plan.ts";

const [front, back] = ["sx-front", "sx-back"];
const indexes = new Map([
  [front, 10],
  [back, 11],
  ["so0-one", 20],
  ["so1-one", 0x01020304],
  ["so0-two", 22],
]);
const ports = (entries: Readonly<Record<string, string>>) => new Map(Object.entries(entries));
const some = ports({
  [`${front}|02:42:0a:00:01:0b`]: "so0-one",
  [`${front}|02:42:0a:00:01:0c`]: "so0-two",
  [`${back}|02:42:0a:00:02:0b`]: "so1-one",
});

describe("shortcuts", () => {
  it("lead from each VXLAN device to the tasks here, and from these to it", () => {
    const { maps, programs } = wantedShortcuts(some, indexes);
    expect([...maps.ports]).toEqual([
      ["0a00000002420a00010b0000", "14000000"],
      ["0a00000002420a00010c0000", "16000000"],
      ["0b00000002420a00020b0000", "04030201"],
    ]);
    expect([...maps.vxlans]).toEqual([
      ["14000000", "0a000000"],
      ["16000000", "0a000000"],
      ["04030201", "0b000000"],
    ]);
    expect(programs).toEqual(
      new Map([
        [20, "task"],
        [22, "task"],
        [0x01020304, "task"],
        [10, "vxlan"],
        [11, "vxlan"],
      ]),
    );
  });

  it("are none for devices that are not there", () => {
    const without = new Map([...indexes].filter(([name]) => name !== "so0-two" && name !== back));
    expect([...wantedShortcuts(some, without).programs.keys()].sort()).toEqual([10, 20]);
  });

  it("go from any state to any other: what is gone goes first, what is the same stays", () => {
    const states = [
      noShortcuts,
      wantedShortcuts(some, indexes),
      wantedShortcuts(ports({ [`${front}|02:42:0a:00:01:0b`]: "so0-two" }), indexes),
      wantedShortcuts(some, new Map([...indexes, [front, 30]])),
    ];
    for (const before of states) {
      for (const after of states) {
        const plan = planShortcuts(before, after);
        expect(applied(before, plan)).toEqual({ maps: after.maps, programs: after.programs });
        const firstSet = plan.changes.findIndex(({ value }) => value !== undefined);
        const lastDropped = plan.changes.findLastIndex(({ value }) => value === undefined);
        if (firstSet >= 0) expect(lastDropped).toBeLessThan(firstSet);
        if (before === after) expect(plan).toEqual({ changes: [], attach: new Map(), detach: [] });
      }
    }
  });

  it("replace what a former process left at devices that are wanted, and take the rest away", () => {
    const former = new Map([10, 20, 99].map((index) => [index, "unknown"] as const));
    const wanted = wantedShortcuts(ports({ [`${front}|02:42:0a:00:01:0b`]: "so0-one" }), indexes);
    const { attach, detach } = planShortcuts({ ...noShortcuts, programs: former }, wanted);
    expect([...attach.keys()].sort()).toEqual([10, 20]);
    expect(detach).toEqual([99]);
  });
});

function applied(before: ShortcutState, { changes, attach, detach }: ReturnType<typeof planShortcuts>) {
  const maps = { ports: new Map(before.maps.ports), vxlans: new Map(before.maps.vxlans) };
  const programs = new Map(before.programs);
  for (const index of detach) programs.delete(index);
  for (const { map, key, value } of changes as readonly ShortcutChange[]) {
    if (value === undefined) maps[map].delete(key);
    else maps[map].set(key, value);
  }
  for (const [index, program] of attach) programs.set(index, program);
  return { maps, programs };
}

describe("rules about frames", () => {
  const chain = (family: string, table: string, more: object = {}) => ({
    chain: { family, table, name: "forward", hook: "forward", policy: "accept", ...more },
  });
  const rule = (family: string, table: string) => ({ rule: { family, table, chain: "forward" } });
  const empty = [chain("inet", "starling"), rule("inet", "starling"), chain("bridge", "starling_user")];

  it.each([
    ["none but an empty chain", [], false],
    ["one of the operators' chain", [rule("bridge", "starling_user")], true],
    ["one of a table of their own", [chain("bridge", "mine"), rule("bridge", "mine")], true],
    ["a policy that drops", [chain("bridge", "mine", { policy: "drop" })], true],
    [
      "those of the routing mesh",
      [chain("netdev", "starling", { dev: "starling-mesh" }), rule("netdev", "starling")],
      false,
    ],
    ["one at the host's own device", [chain("netdev", "mine", { dev: "eth0" }), rule("netdev", "mine")], false],
    ["one at a task's device", [chain("netdev", "mine", { dev: "so0-task1" }), rule("netdev", "mine")], true],
    [
      "one at VXLAN among others",
      [chain("netdev", "mine", { dev: ["eth0", "sx-net1"] }), rule("netdev", "mine")],
      true,
    ],
    ["a chain at a task's device without rules", [chain("netdev", "mine", { dev: "so0-task1" })], false],
  ])("%s", (_, further, judged) => {
    expect(framesAreJudged({ nftables: [...empty, ...further] })).toBe(judged);
  });
});
