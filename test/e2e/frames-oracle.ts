import { readFileSync } from "node:fs";
import type { Host } from "../cluster/index.ts";
import { mapsOf, programsAt } from "./bpf-maps.ts";

/** A task here on an overlay network, as eBPF programs of frames should know it. */
export interface FramedTask {
  readonly taskId: string;
  /** VXLAN device of the network. */
  readonly device: string;
  readonly mac: string;
}

/** How the maps by which a host's frames go past its bridges differ from what `tasks`, those here, need. */
export async function framesFaults(host: Host, tasks: readonly FramedTask[]): Promise<readonly string[]> {
  if (tasks.length === 0) return [];
  const { links: all, attached } = await programsAt(host, "^s[ox]");
  const named = new Map(all.map((link) => [link.ifname, link]));
  // Of a task on several networks: the device that is on the same bridge. None until it is attached.
  const should = tasks.flatMap(({ taskId, device, mac }) => {
    const { master } = named.get(device) ?? {};
    const port = all.find(
      (link) => link.ifname.startsWith("so") && link.ifname.slice(4) === taskId.slice(0, 11) && link.master === master,
    );
    return port === undefined ? [] : { device, mac, port: port.ifname };
  });
  // That of tasks' devices, where there are any, has both maps.
  const programs = await Promise.all([...new Set(attached)].map((program) => mapsOf(program)));
  const maps = programs.map(({ entries }) => entries).find((entries) => entries["vxlans"] !== undefined);
  if (maps === undefined) {
    const isRefused = readFileSync(host.logFile("swarmd"), "utf8").includes("pass their bridges");
    return isRefused || should.length === 0 ? [] : [`${host.name}: no eBPF programs for frames of overlay networks`];
  }
  const nameOf = new Map(all.map(({ ifindex, ifname }) => [littleEndian(ifindex), ifname]));
  const faults: string[] = [];
  const expectSame = (what: string, wanted: readonly string[], is: readonly string[]) => {
    const [left, right] = [wanted, is].map((list) => list.toSorted().join(", "));
    if (left !== right) faults.push(`${what} should be [${left}], are [${right}]`);
  };
  expectSame(
    "ports",
    should.map(({ device, mac, port }) => `${device} ${mac} ${port}`),
    Array.from(maps["ports"]!, ([key, value]) => {
      const mac = key.slice(8, 20).match(/../g)!.join(":");
      return `${nameOf.get(key.slice(0, 8))} ${mac} ${nameOf.get(value)}`;
    }),
  );
  expectSame(
    "ways to VXLAN",
    should.map(({ device, port }) => `${port} ${device}`),
    Array.from(maps["vxlans"]!, ([key, value]) => `${nameOf.get(key)} ${nameOf.get(value)}`),
  );
  const devices = new Set(should.flatMap(({ device, port }) => [device, port])).size;
  if (attached.length !== devices) faults.push(`${attached.length} devices have programs, ${devices} should`);
  return faults.map((fault) => `${host.name}: eBPF: ${fault}`);
}

function littleEndian(index: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(index);
  return bytes.toString("hex");
}
