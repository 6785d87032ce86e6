import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Host } from "../cluster/index.ts";
import { bpftool, type Entries, mapsOf, type ProgramMaps } from "./bpf-maps.ts";

/** A running task, as programs of connect time should know it. */
export interface ConnectingTask {
  readonly id: string;
  /** Of its network namespace. */
  readonly cookie: bigint;
  /** Numbers of its overlay networks. */
  readonly vnis: readonly number[];
  readonly reached: readonly {
    readonly vni: number;
    readonly virtualIp: string;
    /** Tasks that serve. */
    readonly tasks: readonly string[];
    readonly isSticky: boolean;
  }[];
}

/** How the maps of a host's programs differ from what `tasks`, those that run there, need; `others` tasks may have entries, too. */
export async function connectTimeFaults(
  host: Host,
  nodeId: string,
  { tasks, others }: { readonly tasks: readonly ConnectingTask[]; readonly others: number },
): Promise<readonly string[]> {
  const connecting = tasks.filter(({ vnis }) => vnis.length > 0);
  if (connecting.length === 0) return [];
  const maps = await balancerMapsOf(host, nodeId);
  if (maps === undefined) {
    const isRefused = readFileSync(host.logFile("swarmd"), "utf8").includes("virtual IPs by nftables alone");
    return isRefused ? [] : [`${host.name}: no eBPF programs for virtual IPs`];
  }
  const found = connecting.flatMap((task) => taskFaults(task, maps));
  const known = maps.entries["networks_of"]!.size;
  if (known > connecting.length + others)
    found.push(`${known} network namespaces are known, ${connecting.length} tasks run and ${others} come or go`);
  const wanted = new Set(connecting.flatMap(({ reached }) => reached.map((one) => serviceKey(one))));
  const extra = [...maps.entries["services"]!.keys()].filter((key) => !wanted.has(key));
  if (others === 0 && extra.length > 0) found.push(`services that no task reaches: ${extra.join(" ")}`);
  const slots = [...maps.entries["services"]!].reduce((sum, [, value]) => sum + littleEndian(value.slice(0, 8)), 0);
  const { size } = maps.entries["slots"]!;
  if (slots !== size) found.push(`services have ${slots} tasks in ${size} slots`);
  return found.map((fault) => `${host.name}: eBPF: ${fault}`);
}

function taskFaults({ id, cookie, vnis, reached }: ConnectingTask, maps: ProgramMaps): readonly string[] {
  const { networks_of: networksOf, services, slots, sticky } = maps.entries as Record<string, Entries>;
  const faults: string[] = [];
  const netns = hex(cookie, 8);
  const on = (networksOf!.get(netns)?.match(/.{8}/g) ?? []).map(littleEndian).filter((vni) => vni !== 0);
  if ([...on].sort().join() !== [...new Set(vnis)].sort().join())
    faults.push(`task ${id} should be on networks [${vnis}], is on [${on}]`);
  for (const one of reached) {
    const key = serviceKey(one);
    const count = littleEndian(services!.get(key)?.slice(0, 8) ?? "00000000");
    const is = Array.from({ length: count }, (_, slot) => slots!.get(key + hex(BigInt(slot), 4)) ?? "none");
    const [left, right] = [one.tasks.map(addressHex), is].map((list) => list.toSorted().join(" "));
    if (left !== right) faults.push(`${one.virtualIp} should lead to [${left}], leads to [${right}]`);
    const chosen = sticky!.get(`${netns}${key}00000000`);
    const isRight = one.isSticky && one.tasks.length > 0 ? one.tasks.map(addressHex).includes(chosen ?? "") : !chosen;
    if (!isRight) faults.push(`task ${id} sticks to ${chosen} at ${one.virtualIp} of [${left}]`);
  }
  return faults;
}

const hex = (value: bigint, bytes: number): string =>
  Buffer.from(value.toString(16).padStart(2 * bytes, "0"), "hex")
    .reverse()
    .toString("hex");

const littleEndian = (text: string): number => Buffer.from(text, "hex").readUInt32LE();

/** An IPv4 address as the IPv6 one that stands for it. */
function addressHex(address: string): string {
  if (!address.includes(":"))
    return `${"0".repeat(20)}ffff${Buffer.from(address.split(".").map(Number)).toString("hex")}`;
  const [head = "", tail = ""] = address.split("::");
  const [front, back] = [head, tail].map((part) => part.split(":").filter((group) => group !== ""));
  const zeros = Array<string>(8 - front!.length - back!.length).fill("0");
  return [...front!, ...zeros, ...back!].map((group) => group.padStart(4, "0")).join("");
}

const serviceKey = ({ vni, virtualIp }: { readonly vni: number; readonly virtualIp: string }): string =>
  hex(BigInt(vni), 4) + addressHex(virtualIp);

/** What the programs at the host's group know; undefined: there are none. */
export async function balancerMapsOf(host: Host, nodeId: string): Promise<ProgramMaps | undefined> {
  const group = host.cgroups.find(isV2);
  if (group === undefined) return undefined;
  type Program = { readonly id: number; readonly attach_type: string };
  const programs = await bpftool<readonly Program[]>("cgroup", "show", group);
  const program = programs.find(({ attach_type: type }) => /inet4_connect|connect4/.test(type));
  if (program === undefined) return undefined;
  const maps = await mapsOf(program.id);
  const owner = maps.entries["owner"]?.get("00000000") ?? "";
  if (Buffer.from(owner, "hex").toString().replaceAll("\0", "") !== nodeId) return undefined;
  return maps;
}

/** Has one of a service's tasks not be found, as some other program might. Returns false where virtual IPs are not by eBPF. */
export async function removeSlot(host: Host, nodeId: string): Promise<boolean> {
  const maps = await balancerMapsOf(host, nodeId);
  const [slot] = maps?.entries["slots"]?.keys() ?? [];
  if (maps === undefined || slot === undefined) return false;
  await bpftool("map", "delete", "id", String(maps.ids["slots"]), "key", "hex", ...slot.match(/../g)!);
  return true;
}

const isV2 = (folder: string): boolean => existsSync(join(folder, "cgroup.controllers"));
