import { readFileSync } from "node:fs";
import type { Host } from "../cluster/index.ts";
import { type Entries, mapsOf, programsAt } from "./bpf-maps.ts";

/** Tasks that the clear mesh reaches by TCP, as eBPF programs of its connections should know them. */
export interface MeshTasks {
  /** Those elsewhere: their nodes' addresses in the mesh by theirs. */
  readonly far: ReadonlyMap<string, string>;
  readonly near: readonly { readonly taskId: string; readonly address: string }[];
}

/** How what a host's connections of the mesh go past its rules by differs from what tasks need. */
export async function meshFaults(host: Host, { far, near }: MeshTasks): Promise<readonly string[]> {
  const { links: all, attached } = await programsAt(host, "^(starling-mesh|eth0|sr-.*)$");
  if (!all.some(({ ifname }) => ifname === "starling-mesh")) return [];
  // None until it is attached.
  const deviceOf = (taskId: string) => all.find(({ ifname }) => ifname === `sr-${taskId.slice(0, 12)}`);
  const here = near.flatMap(({ taskId, address }) => {
    const device = deviceOf(taskId);
    return device === undefined ? [] : { address, device: device.ifname };
  });
  if (attached.length === 0 && far.size + here.length === 0) return [];
  if (attached.length === 0) {
    const isRefused = readFileSync(host.logFile("swarmd"), "utf8").includes("pass the host's rules");
    const isJudged = isRefused || hasOthersRules(await host.mustExec(["nft", "-j", "list", "ruleset"]));
    return isJudged ? [] : [`${host.name}: no eBPF programs for connections of the mesh`];
  }
  const faults: string[] = [];
  const expectSame = (what: string, wanted: readonly string[], is: readonly string[]) => {
    const [left, right] = [wanted, is].map((list) => list.toSorted().join(", "));
    if (left !== right) faults.push(`${what} should be [${left}], are [${right}]`);
  };
  const nameOf = new Map(all.map(({ ifindex, ifname }) => [ifindex, ifname]));
  // All programs of a host share maps; that of the mesh's device has those of both sides.
  const programs = await Promise.all([...new Set(attached)].map((program) => mapsOf(program, ["far", "near"])));
  const maps: Readonly<Record<string, Entries>> = Object.assign({}, ...programs.map(({ entries }) => entries));
  const { far: isFar, near: isNear } = maps;
  expectSame(
    "tasks elsewhere",
    Array.from(far, ([task, node]) => `${task} at ${node}`),
    Array.from(isFar ?? [], ([task, node]) => `${addressOf(task)} at ${addressOf(node)}`),
  );
  expectSame(
    "tasks here",
    here.map(({ address, device }) => `${address} at ${device}`),
    Array.from(isNear ?? [], ([task, index]) => `${addressOf(task)} at ${nameOf.get(numberOf(index))}`),
  );
  // The mesh's device, and for tasks elsewhere the network card.
  const devices = (far.size + here.length > 0 ? 1 : 0) + (far.size > 0 ? 1 : 0) + here.length;
  if (attached.length !== devices) faults.push(`${attached.length} devices have programs, ${devices} should`);
  return faults.map((fault) => `${host.name}: eBPF: mesh: ${fault}`);
}

/** Whether there is any rule, or chain that drops what has none, in tables that are not ours. */
function hasOthersRules(listing: string): boolean {
  type Item = { readonly chain?: Of & { readonly policy?: string }; readonly rule?: Of };
  type Of = { readonly table: string };
  const { nftables } = JSON.parse(listing) as { readonly nftables: readonly Item[] };
  const isOurs = (table: string) => table === "starling" || table === "starling_safe";
  return nftables.some(
    ({ chain, rule }) =>
      (rule !== undefined && !isOurs(rule.table)) || (chain?.policy === "drop" && !isOurs(chain.table)),
  );
}

const addressOf = (digits: string): string => [...Buffer.from(digits, "hex")].join(".");
const numberOf = (digits: string): number => Buffer.from(digits, "hex").readUInt32LE();
