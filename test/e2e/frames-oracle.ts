import { readFileSync } from "node:fs";
import type { Host } from "../cluster/index.ts";
import { mapsOf } from "./bpf-maps.ts";

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
  const show = "for d in $(ip -br link | grep -o '^s[ox][^@ ]*'); do tc -j filter show dev $d ingress; echo; done";
  const [links, filters] = await Promise.all([
    host.mustExec(["ip", "-j", "link", "show"]),
    host.exec(["bash", "-c", show]),
  ]);
  type Filter = { readonly options?: { readonly bpf_name?: string; readonly prog?: { readonly id: number } } };
  const attached = filters.stdout
    .split("\n")
    .filter((line) => line !== "")
    .flatMap((line) => (JSON.parse(line) as readonly Filter[]).flatMap(({ options }) => options?.prog?.id ?? []));
  // That of tasks' devices, where there are any, has both maps.
  const programs = await Promise.all([...new Set(attached)].map(mapsOf));
  const maps = programs.map(({ entries }) => entries).find((entries) => entries["vxlans"] !== undefined);
  if (maps === undefined) {
    const isRefused = readFileSync(host.logFile("swarmd"), "utf8").includes("pass their bridges");
    return isRefused ? [] : [`${host.name}: no eBPF programs for frames of overlay networks`];
  }
  const { ports, vxlans } = maps;
  const indexes = new Map(
    (JSON.parse(links) as readonly { ifindex: number; ifname: string }[]).map((link) => [link.ifname, link.ifindex]),
  );
  const digits = (index: number | undefined) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(index ?? 0);
    return bytes.toString("hex");
  };
  const nameOf = new Map(Array.from(indexes, ([name, index]) => [digits(index), name]));
  const should = tasks.flatMap(({ taskId, device, mac }) => {
    const port = [...indexes.keys()].filter(
      (name) => name.slice(0, 2) === "so" && name.slice(4) === taskId.slice(0, 11),
    );
    const key = `${digits(indexes.get(device))}${mac.replaceAll(":", "")}0000`;
    // Of a task on several networks: that which the map says, when it is one of them.
    const is = nameOf.get(ports!.get(key) ?? "");
    return port.length === 0 ? [] : [`${device} ${mac} ${port.includes(is ?? "") ? is : port.join(" or ")}`];
  });
  const is = Array.from(ports!, ([key, value]) => {
    const mac = key.slice(8, 20).match(/../g)!.join(":");
    return `${nameOf.get(key.slice(0, 8))} ${mac} ${nameOf.get(value)}`;
  });
  const faults = [];
  if (should.toSorted().join() !== is.toSorted().join())
    faults.push(`ports should be [${should.join(", ")}], are [${is.join(", ")}]`);
  const devices = new Set(should.map((text) => text.split(" ")[0])).size + ports!.size;
  if (attached.length !== devices) faults.push(`${attached.length} devices have programs, ${devices} should`);
  if (vxlans!.size !== ports!.size) faults.push(`${vxlans!.size} devices lead to VXLAN, ${ports!.size} from it`);
  return faults.map((fault) => `${host.name}: eBPF: ${fault}`);
}
