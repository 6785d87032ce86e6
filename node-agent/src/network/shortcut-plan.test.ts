import { describe, expect, it } from "vitest";
import { frameShortcuts } from "./frame-plan.ts";
import { changeEntries, type Place, planShortcuts, type ShortcutState } from "./shortcut-plan.ts";

const [front, back] = ["sx-front", "sx-back"];
const indexes: Place["indexes"] = new Map([
  [front, 10],
  [back, 11],
  ["so0-one", 20],
  ["so1-one", 0x01020304],
  ["so0-two", 22],
]);
type Wanted = ReturnType<typeof wanted>;
const wanted = (ports: ReadonlyMap<string, string>, there = indexes) => {
  const place = { indexes: there, clientDevices: [], patience: undefined };
  return { maps: frameShortcuts.entries({ ports }, place), programs: frameShortcuts.programs({ ports }, place) };
};
const none = wanted(new Map());
const ports = (entries: Readonly<Record<string, string>>) => new Map(Object.entries(entries));
const some = ports({
  [`${front}|02:42:0a:00:01:0b`]: "so0-one",
  [`${front}|02:42:0a:00:01:0c`]: "so0-two",
  [`${back}|02:42:0a:00:02:0b`]: "so1-one",
});

describe("shortcuts of frames", () => {
  it("lead from each VXLAN device to the tasks here, and from these to it", () => {
    const { maps, programs } = wanted(some);
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
    expect([...wanted(some, without).programs.keys()].sort()).toEqual([10, 20]);
  });

  it("go from any state to any other: what is gone goes first, what is the same stays", () => {
    const states = [
      none,
      wanted(some),
      wanted(ports({ [`${front}|02:42:0a:00:01:0b`]: "so0-two" })),
      wanted(some, new Map([...indexes, [front, 30]])),
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
    const after = wanted(ports({ [`${front}|02:42:0a:00:01:0b`]: "so0-one" }));
    const { attach, detach } = planShortcuts({ ...none, programs: former }, after);
    expect([...attach.keys()].sort()).toEqual([10, 20]);
    expect(detach).toEqual([99]);
  });
});

function applied(
  before: ShortcutState<keyof Wanted["maps"], string>,
  { changes, attach, detach }: ReturnType<typeof planShortcuts<keyof Wanted["maps"], string>>,
) {
  const programs = new Map(before.programs);
  for (const index of detach) programs.delete(index);
  for (const [index, program] of attach) programs.set(index, program);
  const maps = { ports: new Map(before.maps.ports), vxlans: new Map(before.maps.vxlans) };
  changeEntries(maps, changes);
  return { maps, programs };
}
