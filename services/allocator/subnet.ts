/** Pure: no clock, no I/O, no randomness. */
import { type Cidr, formatAddress, parseAddress, parseCidr } from "@starling/api";

/** An IPv4 or IPv6 subnet; `first` is its network address as a number. */
export interface Subnet {
  readonly bits: 32 | 128;
  readonly first: bigint;
  readonly prefix: number;
}

/** An address as a number, of the family that `bits` says. */
export interface Address {
  readonly bits: 32 | 128;
  readonly value: bigint;
}

const sizeOfPrefix = (bits: number, prefix: number): bigint => 1n << BigInt(bits - prefix);
export const lastOf = (subnet: Subnet): bigint => subnet.first + sizeOfPrefix(subnet.bits, subnet.prefix) - 1n;

const subnetOf = ({ bits, value, prefix }: Cidr): Subnet => ({ bits, first: value, prefix });

/** `"10.0.1.0/24"` or `"fd00::/64"`, host bits cleared; undefined when it is no subnet. */
export function parseSubnet(text: string): Subnet | undefined {
  const cidr = parseCidr(text);
  return cidr && subnetOf(cidr);
}

export const addressText = (bits: 32 | 128, value: bigint): string => formatAddress({ bits, value });
export const subnetText = (subnet: Subnet): string => `${addressText(subnet.bits, subnet.first)}/${subnet.prefix}`;

/** `"10.0.1.5"` or `"10.0.1.5/24"` → number; undefined when it is no address. */
export const parseAddressNumber = (text: string): Address | undefined => parseAddress(text.split("/")[0] ?? "");

export const overlap = (a: Subnet, b: Subnet): boolean =>
  a.bits === b.bits && a.first <= lastOf(b) && b.first <= lastOf(a);
export const contains = (subnet: Subnet, address: Address): boolean =>
  address.bits === subnet.bits && address.value >= subnet.first && address.value <= lastOf(subnet);

/**
 * A subnet of `prefix` length out of `pools` (all of one family) that overlaps none of `taken`; undefined when there is
 * none. Searches upwards, or downwards from the pools' ends.
 */
export function freeSubnet(
  pools: readonly Subnet[],
  prefix: number,
  taken: readonly Subnet[],
  direction: "up" | "down" = "up",
): Subnet | undefined {
  for (const pool of pools) {
    if (prefix < pool.prefix) continue;
    const { bits } = pool;
    const size = sizeOfPrefix(bits, prefix);
    const near = taken.filter((other) => overlap(other, pool)).sort((a, b) => (a.first < b.first ? -1 : 1));
    if (direction === "down") near.reverse();
    let first = direction === "up" ? pool.first : lastOf(pool) + 1n - size;
    for (const other of near) {
      if (!overlap({ bits, first, prefix }, other)) continue;
      first = direction === "up" ? (lastOf(other) / size + 1n) * size : (other.first / size - 1n) * size;
    }
    if (first >= pool.first && first + size - 1n <= lastOf(pool)) return { bits, first, prefix };
  }
  return undefined;
}
