/** Pure: no clock, no I/O, no randomness. */
import { ipv4Bytes, meshObject } from "@starling/native/net";
import type { Items } from "./ledger.ts";
import { u32 } from "./map-bytes.ts";
import { isOurs, meshDevice, routedPrefix } from "./names.ts";
import type { ShortcutKind } from "./shortcut-plan.ts";

type MeshMap = keyof typeof meshObject.maps;
type MeshProgram = keyof typeof meshObject.programs;
const kinds = ["meshSelf", "farTasks", "nearTasks", "entryNodes"] as const;
export type MeshKind = (typeof kinds)[number];

const bytesOf = (address: string): string => Buffer.from(ipv4Bytes(address)).toString("hex");
const noSettings = "00".repeat(16);

/** Established TCP connections of the routing mesh, at the node that they came in by and at the task's. */
export const meshShortcuts: ShortcutKind<MeshMap, MeshProgram, MeshKind> = {
  what: "connections of the routing mesh",
  short: "go past the host's rules once they are established",
  long: "pass the host's rules",
  object: meshObject,
  kinds,
  mayHave: (device) => device === meshDevice || device.startsWith(routedPrefix) || !isOurs(device),
  entries: ({ meshSelf, farTasks, nearTasks, entryNodes }: Items<MeshKind>, place) => {
    const { indexes, clientDevices, patience } = place;
    const mesh = indexes.get(meshDevice);
    const [self] = meshSelf.keys();
    const settings =
      mesh === undefined || self === undefined || patience === undefined
        ? noSettings
        : `${u32(mesh)}${bytesOf(self)}${u32(patience.silentMs)}${u32(patience.unacknowledgedMs)}`;
    const near = [...nearTasks].flatMap(([address, device]) => {
      const index = indexes.get(device);
      return index === undefined ? [] : [[bytesOf(address), u32(index)] as const];
    });
    return {
      mesh: new Map([[u32(0), settings]]),
      far: new Map(Array.from(farTasks, ([task, node]) => [bytesOf(task), bytesOf(node)])),
      near: new Map(near),
      owners: new Map(near.map(([address, index]) => [index, address])),
      nodes: new Map(Array.from(entryNodes, ([mark, node]) => [u32(Number(mark)), bytesOf(node)])),
      cards: new Map(clientDevices.map((device) => [u32(indexes.get(device)!), u32(1)])),
    };
  },
  programs: ({ meshSelf, farTasks, nearTasks }, { indexes, clientDevices }) => {
    const programs = new Map<number, MeshProgram>();
    const put = (device: string, program: MeshProgram) => {
      const index = indexes.get(device);
      if (index !== undefined) programs.set(index, program);
    };
    if (meshSelf.size === 0 || !indexes.has(meshDevice) || farTasks.size + nearTasks.size === 0) return programs;
    put(meshDevice, "mesh");
    // Who asks for tasks here alone has no use for it.
    if (farTasks.size > 0) for (const device of clientDevices) put(device, "card");
    for (const device of nearTasks.values()) put(device, "routed");
    return programs;
  },
  // Of segments that go past it conntrack sees neither numbers nor windows: those that end the connection would be out of its window.
  sysctls: [{ path: "net/netfilter/nf_conntrack_tcp_be_liberal", value: "1" }],
};
