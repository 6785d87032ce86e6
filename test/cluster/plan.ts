/** Pure: no clock, no I/O, no randomness. */
import { SwarmError } from "@starling/base";

/** A host before it exists. */
export interface HostPlan {
  readonly name: string;
  /** IPv4 address in 10.99.0.0/24. */
  readonly address: string;
  /** Derived from the address, so that a host keeps its MAC over a restart, as a real one does. */
  readonly mac: string;
}

/** The network of every cluster; clusters have a switch each, so they never see one another. */
export const networkPrefix = "10.99.0";
export const prefixLength = 24;
/** The switch's own address: hosts' default gateway (nothing is behind it). */
export const gateway = `${networkPrefix}.1`;

/** Names that records and cgroups of the cluster itself have. */
const reserved = new Set(["switch", "cluster"]);

/**
 * Addresses by name: `reg` .2, `m1`… .11…, `w1`… .21…, all others .100 upwards in the order given.
 * Throws InvalidArgument for a name that can't be a host name of 1-10 characters, or is there twice.
 */
export function planHosts(names: readonly string[]): readonly HostPlan[] {
  const taken = new Set<string>();
  let other = 100;
  return names.map((name) => {
    if (!/^[a-z][a-z0-9]{0,9}$/.test(name)) {
      throw new SwarmError("InvalidArgument", `host name "${name}": want a letter, then letters or digits, 10 at most`);
    }
    if (reserved.has(name)) throw new SwarmError("InvalidArgument", `host name "${name}" is taken: choose another`);
    if (taken.has(name)) throw new SwarmError("InvalidArgument", `host name "${name}" is given twice`);
    taken.add(name);
    const last = conventionalNumber(name) ?? other++;
    const address = `${networkPrefix}.${last}`;
    return { name, address, mac: macOf(address) };
  });
}

function conventionalNumber(name: string): number | undefined {
  if (name === "reg") return 2;
  const match = /^([mw])([1-9])$/.exec(name);
  return match ? (match[1] === "m" ? 10 : 20) + Number(match[2]) : undefined;
}

function macOf(address: string): string {
  return ["02", "00", ...address.split(".").map((part) => Number(part).toString(16).padStart(2, "0"))].join(":");
}

/** `/etc/hosts` of every host. */
export function hostsFile(hosts: readonly HostPlan[]): string {
  return ["127.0.0.1 localhost", "::1 localhost", ...hosts.map((h) => `${h.address} ${h.name}`), ""].join("\n");
}
