/** Pure: no clock, no I/O, no randomness. */
import { type Link, type Request, rtnetlink } from "@starling/native/net";
import { type NodeInputs, usedNetworks } from "./desired.ts";

/** Marks VLAN devices that we made, as their alias. */
export const vlanAlias = "starling vlan";

/** The host's device that a task's own one is to be on, or a VLAN device to be made first, or why there is none. */
export type ParentChoice =
  | { readonly kind: "there"; readonly name: string; readonly index: number; readonly mtu: number }
  | { readonly kind: "vlan"; readonly name: string; readonly request: Request }
  | { readonly kind: "missing"; readonly reason: string };

type HostDevice = Pick<Link, "name" | "index" | "mtu" | "up">;

/** The first of `parents` that the host has; else the first VLAN on a device that it has. */
export function chooseParent(parents: readonly string[], links: readonly HostDevice[]): ParentChoice {
  const linkOf = (name: string) => links.find((link) => link.name === name);
  const there = parents.flatMap((name) => linkOf(name) ?? [])[0];
  if (there !== undefined) {
    if (there.up) return { kind: "there", ...there };
    return { kind: "missing", reason: `this host's device ${there.name} is down: ip link set ${there.name} up` };
  }
  for (const name of parents) {
    const [, base = "", id = ""] = /^(.+)\.(\d+)$/.exec(name) ?? [];
    const parent = linkOf(base);
    const vlan = Number(id);
    if (parent === undefined || vlan < 1 || vlan > 4094) continue;
    const request = rtnetlink.createVlan({ name, alias: vlanAlias, up: true }, { parent: parent.index, vlan });
    return { kind: "vlan", name, request };
  }
  const named = parents.length === 1 ? "no device" : "none of the devices";
  return {
    kind: "missing",
    reason: `this host has ${named} ${parents.join(", ")}: name one that it has, too (--opt parent=NAME,…), or place the service on nodes that have it`,
  };
}

/** VLAN devices of ours that no network with tasks here has as a parent any more. `vlans` are those that there are. */
export function idleVlans(vlans: readonly string[], inputs: NodeInputs): readonly string[] {
  if (vlans.length === 0) return [];
  const used = usedNetworks(inputs);
  const parents = new Set([...used].flatMap((id) => inputs.view.networks.get(id)?.parents ?? []));
  return vlans.filter((name) => !parents.has(name));
}
