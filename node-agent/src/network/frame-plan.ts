/** Pure: no clock, no I/O, no randomness. */
import { frameObject, macBytes } from "@starling/native/net";
import { unpair } from "./host-network.ts";
import type { Items } from "./ledger.ts";
import { u32 } from "./map-bytes.ts";
import { isBridgePort, vxlanPrefix } from "./names.ts";
import type { Place, ShortcutKind } from "./shortcut-plan.ts";

type FrameMap = keyof typeof frameObject.maps;
type FrameProgram = keyof typeof frameObject.programs;

/** Tasks here that frames can be carried to: the network's VXLAN device, the task's MAC there, and its device. */
function* carried({ ports }: Items<"ports">, { indexes }: Place) {
  for (const [key, device] of ports) {
    const [vxlan, mac] = unpair(key);
    const [outer, port] = [indexes.get(vxlan), indexes.get(device)];
    if (outer !== undefined && port !== undefined) yield { outer, mac, port };
  }
}

/** Frames of overlay networks between tasks' devices and VXLAN. */
export const frameShortcuts: ShortcutKind<FrameMap, FrameProgram, "ports"> = {
  what: "frames of overlay networks",
  short: "go past their bridges",
  long: "pass their bridges",
  object: frameObject,
  kinds: ["ports"],
  mayHave: (device) => isBridgePort(device) || device.startsWith(vxlanPrefix),
  entries: (items, place) => {
    const maps = { ports: new Map<string, string>(), vxlans: new Map<string, string>() };
    for (const { outer, mac, port } of carried(items, place)) {
      maps.ports.set(`${u32(outer)}${Buffer.from(macBytes(mac)).toString("hex")}0000`, u32(port));
      maps.vxlans.set(u32(port), u32(outer));
    }
    return maps;
  },
  programs: (items, place) => {
    const programs = new Map<number, FrameProgram>();
    for (const { outer, port } of carried(items, place)) programs.set(port, "task").set(outer, "vxlan");
    return programs;
  },
  sysctls: [],
};
