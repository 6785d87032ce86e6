/** Pure: no clock, no I/O, no randomness. */

/** A device of ours in the host's namespace. */
export interface HostLink {
  readonly kind: "bridge" | "vxlan" | "veth" | "tunnel";
  readonly mtu: number;
  readonly mac?: string;
  /** Name of the bridge that it is a port of. */
  readonly master?: string;
  /** Of VXLAN devices: they carry IPv6. Told of no device that is there. */
  readonly ipv6?: boolean;
  readonly vxlan?: {
    readonly vni: number;
    readonly local: string;
    readonly port: number;
    readonly proxy: boolean;
    /** Told of no device that is there. */
    readonly withoutChecksum?: boolean;
  };
}

/** Made by others: tasks' devices by attaching, tunnels by encryption. They end with what made them. */
export const isMadeElsewhere = (link: HostLink | undefined): boolean =>
  link?.kind === "veth" || link?.kind === "tunnel";

export interface HostRoute {
  readonly destination: string;
  readonly table?: number;
  /** Absent for `throw`. */
  readonly device?: string;
  readonly gateway?: string;
  /** An address of the host: what comes by the device is taken. */
  readonly local?: true;
}

/**
 * Devices of ours and what hangs on them, in the host's namespace, as it should be or as it is. Keys name what is
 * replaced rather than doubled: `device|address` of neighbours, `device|mac` of forwarding entries, `destination|table`
 * of routes (and the device of local ones).
 */
export interface HostNetwork {
  readonly links: ReadonlyMap<string, HostLink>;
  /** `device|10.255.0.3/32`. */
  readonly addresses: ReadonlySet<string>;
  readonly routes: ReadonlyMap<string, HostRoute>;
  /** MAC by `device|address`. */
  readonly neighbours: ReadonlyMap<string, string>;
  /** Host behind the VXLAN device, or empty for a port of a bridge, by `device|mac`. */
  readonly forwarding: ReadonlyMap<string, string>;
  /** Tables of the meshes to which rules lead marked replies: `family|table`. */
  readonly returnTables: ReadonlySet<string>;
}

export const routeKey = ({ destination, table, device, local }: HostRoute): string =>
  `${destination}|${table ?? 254}${local ? `|${device}` : ""}`;
export const pair = (device: string, rest: string): string => `${device}|${rest}`;

/** Splits `device|rest`. */
export function unpair(key: string): readonly [device: string, rest: string] {
  const at = key.indexOf("|");
  return [key.slice(0, at), key.slice(at + 1)];
}
