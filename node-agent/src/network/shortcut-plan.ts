/** Pure: no clock, no I/O, no randomness. */
import { macBytes, type ShortcutChange, type ShortcutMap, type ShortcutProgram } from "@starling/native/net";
import { unpair } from "./host-network.ts";
import { u32 } from "./map-bytes.ts";
import { isBridgePort, vxlanPrefix } from "./names.ts";

/** What shortcuts are in the kernel: the maps' entries, and which program is at which device, by its index. */
export interface ShortcutState {
  readonly maps: Readonly<Record<ShortcutMap, ReadonlyMap<string, string>>>;
  readonly programs: ReadonlyMap<number, ShortcutProgram | "unknown">;
}

export interface WantedShortcuts extends ShortcutState {
  readonly programs: ReadonlyMap<number, ShortcutProgram>;
}

export const noShortcuts: WantedShortcuts = { maps: { ports: new Map(), vxlans: new Map() }, programs: new Map() };

/** Whether the device may have a program of ours. */
export const mayHaveShortcut = (name: string): boolean => isBridgePort(name) || name.startsWith(vxlanPrefix);

/** What should be there. `ports`: of the ledger's kind; `indexes`: of the devices that there are. */
export function wantedShortcuts(
  ports: ReadonlyMap<string, string>,
  indexes: ReadonlyMap<string, number>,
): WantedShortcuts {
  const maps = { ports: new Map<string, string>(), vxlans: new Map<string, string>() };
  const programs = new Map<number, ShortcutProgram>();
  for (const [key, device] of ports) {
    const [vxlan, mac] = unpair(key);
    const [outer, port] = [indexes.get(vxlan), indexes.get(device)];
    if (outer === undefined || port === undefined) continue;
    maps.ports.set(`${u32(outer)}${Buffer.from(macBytes(mac)).toString("hex")}0000`, u32(port));
    maps.vxlans.set(u32(port), u32(outer));
    programs.set(port, "task").set(outer, "vxlan");
  }
  return { maps, programs };
}

/** What turns the one into the other: programs that go, entries that go before those that come, programs that come. */
export interface ShortcutPlan {
  readonly changes: readonly ShortcutChange[];
  readonly attach: ReadonlyMap<number, ShortcutProgram>;
  readonly detach: readonly number[];
}

export function planShortcuts(before: ShortcutState, after: WantedShortcuts): ShortcutPlan {
  const mapNames = Object.keys(after.maps) as readonly ShortcutMap[];
  const dropped = mapNames.flatMap((map) =>
    [...before.maps[map].keys()].filter((key) => !after.maps[map].has(key)).map((key) => ({ map, key })),
  );
  const set = mapNames.flatMap((map) =>
    [...after.maps[map]]
      .filter(([key, value]) => before.maps[map].get(key) !== value)
      .map(([key, value]) => ({ map, key, value })),
  );
  return {
    changes: [...dropped, ...set],
    attach: new Map([...after.programs].filter(([index, program]) => before.programs.get(index) !== program)),
    detach: [...before.programs.keys()].filter((index) => !after.programs.has(index)),
  };
}
