/** Pure: no clock, no I/O, no randomness. */
import { SwarmError } from "@starling/base/errors";
import { defaultAddressPools, defaultSubnetSize, subnetSize6 } from "./defaults/cluster.ts";
import type { Cluster } from "./gen/messages.js";
import { formatCidr, parseCidr } from "./ip.ts";

/** Cluster labels: pools beside those that the swarm began with ("10.64.0.0/12,172.20.0.0/14"), and how large subnets out of any pool are. */
export const addressPoolLabels = {
  pools: "io.starling.address-pools",
  maskLength: "io.starling.address-pool-mask-length",
} as const;

const maskLengths = { min: 8, max: 29 };

type Labels = Readonly<Record<string, string>>;

const split = (text: string | undefined): readonly string[] =>
  (text ?? "").split(",").flatMap((part) => part.trim() || []);

/**
 * Pools of both families from which networks without a subnet of their own take theirs, in the order in which they are
 * used. A family that has none gets a default: 10.0.0.0/8, and for IPv6 a unique local prefix of the cluster's own.
 */
export function addressPools({ id, defaultAddressPool, spec }: Cluster): readonly string[] {
  const pools = [...new Set([...defaultAddressPool, ...split(spec.annotations.labels[addressPoolLabels.pools])])];
  const defaults = [
    ...(defaultAddressPool.some((pool) => !pool.includes(":")) ? [] : defaultAddressPools),
    ...(pools.some((pool) => pool.includes(":")) ? [] : [uniqueLocalPrefix(id)]),
  ];
  return [...new Set([...defaults, ...pools])];
}

/** A /48 of fd00::/8 whose 40 bits are drawn from the cluster's id (RFC 4193 §3.2), so that two swarms can be joined by routes. */
function uniqueLocalPrefix(clusterId: string): string {
  let hash = 0xcbf29ce484222325n;
  for (const character of clusterId) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(character.codePointAt(0)!)) * 0x100000001b3n);
  }
  const globalId = BigInt.asUintN(40, hash ^ (hash >> 24n));
  return formatCidr({ bits: 128, value: (0xfdn << 120n) | (globalId << 80n), prefix: 48 });
}

/** Prefix length of the subnets taken from a pool. */
export function poolSubnetSize({ subnetSize, spec }: Cluster): number {
  const label = Number(spec.annotations.labels[addressPoolLabels.maskLength]);
  return Number.isInteger(label) && label > 0 ? label : subnetSize || defaultSubnetSize;
}

/** The labels with a pool more. */
export function withAddressPool(labels: Labels, pool: string): Labels {
  const pools = [...new Set([...split(labels[addressPoolLabels.pools]), pool])];
  return { ...labels, [addressPoolLabels.pools]: pools.join(",") };
}

/** Throws InvalidArgument for a pool that no subnets can be taken from. `maskLength` is theirs. */
export function checkAddressPool(pool: string, maskLength: number): void {
  const refuse = (why: string): never => {
    throw new SwarmError("InvalidArgument", `address pool "${pool}" ${why}`);
  };
  const cidr = parseCidr(pool) ?? refuse("is not a subnet: write it as in 10.64.0.0/12");
  if (cidr.bits === 128) {
    if (cidr.prefix > subnetSize6) refuse(`has no room for an IPv6 subnet of /${subnetSize6}: give a larger pool`);
    return;
  }
  if (cidr.prefix > maskLength) {
    refuse(`has no room for a subnet of /${maskLength}: give a larger pool, or a longer mask length`);
  }
}

/** Throws InvalidArgument unless `length` may be that of subnets out of pools. */
export function checkPoolMaskLength(length: number): void {
  if (Number.isInteger(length) && length >= maskLengths.min && length <= maskLengths.max) return;
  throw new SwarmError(
    "InvalidArgument",
    `address pool mask length "${length}" must be a whole number from ${maskLengths.min} to ${maskLengths.max}`,
  );
}

/** Throws InvalidArgument for labels of ours that say no pools or no length. */
export function checkAddressPoolLabels(labels: Labels): void {
  const length = labels[addressPoolLabels.maskLength];
  if (length !== undefined) checkPoolMaskLength(/^\d+$/.test(length) ? Number(length) : Number.NaN);
  for (const pool of split(labels[addressPoolLabels.pools]))
    checkAddressPool(pool, length === undefined ? maskLengths.max : Number(length));
}
