/** Pure: no clock, no I/O, no randomness. */
import type { Driver, Network } from "./gen/messages.js";

/**
 * A network whose tasks are on the hosts' own one: each has a device of its own on one of its host's (the parent). Addresses
 * are the managers' to give, as on overlay networks; the gateway is the hosts' network's.
 */
export interface ParentNetwork {
  readonly driver: "macvlan" | "ipvlan";
  /** Names of devices; the first that a host has is its parent. `eth0.50` is VLAN 50 on eth0. */
  readonly parents: readonly string[];
  /** How the tasks of one host see each other, in the driver's words: `bridge`, `private`, …; `l2`, `l3`, `l3s`. */
  readonly mode: string;
}

/** Modes by driver, the default first. */
const modes = { macvlan: ["bridge", "private", "vepa", "passthru"], ipvlan: ["l2", "l3", "l3s"] } as const;

const isParentDriver = (name: string): name is ParentNetwork["driver"] => name in modes;

/** What the network's driver options say; undefined for one that has no parents. */
export function parentNetwork({ spec }: Pick<Network, "spec">): ParentNetwork | undefined {
  const { name = "", options = {} } = spec.driverConfig ?? {};
  if (!isParentDriver(name)) return undefined;
  const parents = (options["parent"] ?? "").split(",").filter((parent) => parent !== "");
  return { driver: name, parents, mode: options[`${name}_mode`] || modes[name][0] };
}

/** What a device's name may be (the kernel's rule). */
const deviceName = /^(?!\.{1,2}$)[^\s/:]{1,15}$/;

/** What is wrong with the driver and its options; undefined when nothing is, or it is another driver. */
export function parentNetworkFault(driver: Driver | undefined): string | undefined {
  const { name = "", options = {} } = driver ?? {};
  if (!isParentDriver(name)) return undefined;
  const parents = (options["parent"] ?? "").split(",");
  if (parents.join("") === "") return `a ${name} network needs the hosts' device that it is on: --opt parent=eth0`;
  const odd = parents.find((parent) => !deviceName.test(parent));
  if (odd !== undefined) return `network option parent: "${odd}" is no device's name: write --opt parent=eth0`;
  const key = `${name}_mode`;
  const mode = options[key] || modes[name][0];
  const known: readonly string[] = modes[name];
  if (!known.includes(mode)) return `network option ${key} "${mode}" is unknown: use one of ${known.join(", ")}`;
  if ("encrypted" in options) return `network option encrypted: only overlay networks are encrypted`;
  return undefined;
}
