/** Pure: no clock, no I/O, no randomness. */
import { parseCidr } from "@starling/api";

/** An IPv4 subnet; `first` is its network address as a number. */
export interface Subnet {
  readonly first: number;
  readonly prefix: number;
}

export const sizeOf = (subnet: Subnet): number => 2 ** (32 - subnet.prefix);
export const lastOf = (subnet: Subnet): number => subnet.first + sizeOf(subnet) - 1;

/** `"10.0.1.0/24"`, host bits cleared; undefined when it is no IPv4 subnet. */
export function parseSubnet(text: string): Subnet | undefined {
  const cidr = parseCidr(text);
  return cidr === undefined || cidr.bits !== 32 ? undefined : { first: Number(cidr.value), prefix: cidr.prefix };
}

export const subnetText = (subnet: Subnet): string => `${addressText(subnet.first)}/${subnet.prefix}`;

export function addressText(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join(".");
}

/** `"10.0.1.5"` or `"10.0.1.5/24"` → number; undefined when it is no IPv4 address. */
export function parseAddressNumber(text: string): number | undefined {
  const [address = ""] = text.split("/");
  return parseSubnet(`${address}/32`)?.first;
}

export const overlap = (a: Subnet, b: Subnet): boolean => a.first <= lastOf(b) && b.first <= lastOf(a);
export const contains = (subnet: Subnet, address: number): boolean =>
  address >= subnet.first && address <= lastOf(subnet);

/**
 * A subnet of `prefix` length out of `pools` that overlaps none of `taken`; undefined when there is none. Searches upwards,
 * or downwards from the pools' ends.
 */
export function freeSubnet(
  pools: readonly Subnet[],
  prefix: number,
  taken: readonly Subnet[],
  direction: "up" | "down" = "up",
): Subnet | undefined {
  const size = 2 ** (32 - prefix);
  for (const pool of pools) {
    if (prefix < pool.prefix) continue;
    const near = taken.filter((other) => overlap(other, pool)).sort((a, b) => a.first - b.first);
    if (direction === "down") near.reverse();
    let first = direction === "up" ? pool.first : lastOf(pool) + 1 - size;
    for (const other of near) {
      if (!overlap({ first, prefix }, other)) continue;
      first =
        direction === "up" ? Math.ceil((lastOf(other) + 1) / size) * size : (Math.floor(other.first / size) - 1) * size;
    }
    if (first >= pool.first && first + size - 1 <= lastOf(pool)) return { first, prefix };
  }
  return undefined;
}
