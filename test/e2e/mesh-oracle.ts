import { readFileSync } from "node:fs";
import type { Host } from "../cluster/index.ts";
import { mapsOf } from "./bpf-maps.ts";

/** Tasks that the clear mesh reaches by TCP, as eBPF programs of its connections should know them. */
export interface MeshTasks {
  /** Those elsewhere: their nodes' addresses in the mesh by theirs. */
  readonly far: ReadonlyMap<string, string>;
  readonly near: readonly { readonly taskId: string; readonly address: string }[];
}

/** How what a host's connections of the mesh go past its rules by differs from what tasks need. */
export async function meshFaults(host: Host, { far, near }: MeshTasks): Promise<readonly string[]> {
  const show =
    "for d in starling-mesh eth0 $(ip -br link | grep -o '^sr-[^@ ]*'); do tc -j filter show dev $d ingress; echo; done";
  const [links, filters] = await Promise.all([
    host.mustExec(["ip", "-j", "link", "show"]),
    host.exec(["bash", "-c", show]),
  ]);
  type Filter = { readonly options?: { readonly prog?: { readonly id: number } } };
  const attached = filters.stdout
    .split("\n")
    .filter((line) => line !== "")
    .flatMap((line) => (JSON.parse(line) as readonly Filter[]).flatMap(({ options }) => options?.prog?.id ?? []));
  type Link = { readonly ifindex: number; readonly ifname: string };
  const all = JSON.parse(links) as readonly Link[];
  if (!all.some(({ ifname }) => ifname === "starling-mesh")) return [];
  // None until it is attached.
  const deviceOf = (taskId: string) => all.find(({ ifname }) => ifname === `sr-${taskId.slice(0, 12)}`);
  const here = near.flatMap(({ taskId, address }) => {
    const device = deviceOf(taskId);
    return device === undefined ? [] : { address, device: device.ifname };
  });
  const [program] = attached;
  if (program === undefined && far.size + here.length === 0) return [];
  if (program === undefined) {
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
  // The program of the mesh's device has those of both sides.
  const { far: isFar, near: isNear } = (await mapsOf(program, ["far", "near"])).entries;
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
