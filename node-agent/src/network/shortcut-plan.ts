/** Pure: no clock, no I/O, no randomness. */
import type { DeviceObject, MapChange, Sysctl } from "@starling/native/net";
import type { Items, Kinds } from "./ledger.ts";
import type { Observation } from "./observe.ts";

/** What of the host eBPF programs at its devices are made for. */
export type Place = Pick<Observation, "indexes" | "clientDevices" | "patience">;

export type MapEntries<MapName extends string> = Readonly<Record<MapName, ReadonlyMap<string, string>>>;

/** The same, its holder's to change. */
export type OwnEntries<MapName extends string> = Readonly<Record<MapName, Map<string, string>>>;

/** Programs of one object that have packets take a shorter way than the kernel's own. */
export interface ShortcutKind<MapName extends string, Program extends string, Kind extends keyof Kinds> {
  /** Whose way it is. */
  readonly what: string;
  /** What they do with it and without it, for logs. */
  readonly short: string;
  readonly long: string;
  readonly object: DeviceObject<MapName, Program>;
  /** Of the ledger: what entries and devices are made from. */
  readonly kinds: readonly Kind[];
  /** Whether the device of that name may have a program of these. */
  readonly mayHave: (device: string) => boolean;
  /** Of items the entries that they need. Each item has its own: a part has its part of the entries. */
  readonly entries: (items: Items<Kind>, place: Place) => OwnEntries<MapName>;
  /** Programs at devices, by these' indexes. */
  readonly programs: (items: Items<Kind>, place: Place) => ReadonlyMap<number, Program>;
  /** Settings of the kernel that they need. */
  readonly sysctls: readonly Sysctl[];
}

/** What shortcuts are in the kernel: the maps' entries, and which program is at which device, by its index. */
export interface ShortcutState<MapName extends string, Program extends string> {
  readonly maps: MapEntries<MapName>;
  readonly programs: ReadonlyMap<number, Program | "unknown">;
}

/** What turns the one into the other: programs that go, entries that go before those that come, programs that come. */
export interface ShortcutPlan<MapName extends string, Program extends string> {
  readonly changes: readonly MapChange<MapName>[];
  readonly attach: ReadonlyMap<number, Program>;
  readonly detach: readonly number[];
}

export function planShortcuts<MapName extends string, Program extends string>(
  before: ShortcutState<MapName, Program>,
  after: { readonly maps: MapEntries<MapName>; readonly programs: ReadonlyMap<number, Program> },
): ShortcutPlan<MapName, Program> {
  return {
    changes: planEntries(before.maps, after.maps),
    attach: new Map([...after.programs].filter(([index, program]) => before.programs.get(index) !== program)),
    detach: [...before.programs.keys()].filter((index) => !after.programs.has(index)),
  };
}

function planEntries<MapName extends string>(
  before: MapEntries<MapName>,
  after: MapEntries<MapName>,
): readonly MapChange<MapName>[] {
  const mapNames = Object.keys(after) as MapName[];
  const dropped = mapNames.flatMap((map) =>
    Array.from(before[map].keys()).flatMap((key) => (after[map].has(key) ? [] : [{ map, key }])),
  );
  const set = mapNames.flatMap((map) =>
    Array.from(after[map]).flatMap(([key, value]) => (before[map].get(key) === value ? [] : [{ map, key, value }])),
  );
  return [...dropped, ...set];
}

/** Makes the changes of the entries. */
export function changeEntries<MapName extends string>(
  maps: OwnEntries<MapName>,
  changes: readonly MapChange<MapName>[],
): void {
  for (const { map, key, value } of changes) {
    if (value === undefined) maps[map].delete(key);
    else maps[map].set(key, value);
  }
}
