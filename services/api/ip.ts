/** Pure: no clock, no I/O, no randomness. */

/** An IP address as a number; `bits` is 32 for IPv4, 128 for IPv6. */
export interface IpAddress {
  readonly bits: 32 | 128;
  readonly value: bigint;
}

/** A network: the address with its host bits cleared, and the prefix length. */
export interface Cidr extends IpAddress {
  readonly prefix: number;
}

/** `"10.0.0.1"` or `"fd00::1"`; undefined when it is neither. */
export function parseAddress(text: string): IpAddress | undefined {
  return text.includes(":") ? parseV6(text) : parseV4(text);
}

/** `"10.0.0.0/24"`; host bits are cleared; undefined when malformed. */
export function parseCidr(text: string): Cidr | undefined {
  const match = /^([^/]+)\/(\d{1,3})$/.exec(text);
  const address = match ? parseAddress(match[1]!) : undefined;
  const prefix = Number(match?.[2]);
  if (!address || prefix > address.bits) return undefined;
  return { bits: address.bits, prefix, value: networkPart(address, prefix) };
}

/** As it is written: IPv6 in its canonical form (RFC 5952). */
export function formatAddress({ bits, value }: IpAddress): string {
  const groupBits = bits === 32 ? 8n : 16n;
  const groups = Array.from({ length: bits === 32 ? 4 : 8 }, (_, i) =>
    Number((value >> (BigInt(bits) - groupBits * BigInt(i + 1))) & ((1n << groupBits) - 1n)),
  );
  if (bits === 32) return groups.join(".");
  const zeros = [
    ...groups
      .map((group) => (group === 0 ? "0" : "1"))
      .join("")
      .matchAll(/00+/g),
  ];
  const longest = zeros.reduce((best, run) => (run[0].length > best.length ? run[0] : best), "");
  const text = groups.map((group) => group.toString(16));
  if (longest === "") return text.join(":");
  const start = zeros.find((run) => run[0] === longest)!.index;
  return `${text.slice(0, start).join(":")}::${text.slice(start + longest.length).join(":")}`;
}

export const formatCidr = (cidr: Cidr): string => `${formatAddress(cidr)}/${cidr.prefix}`;

/** Whether the address, or the network's first address, lies in `outer`. */
export function cidrContains(outer: Cidr, inner: IpAddress): boolean {
  return outer.bits === inner.bits && networkPart(inner, outer.prefix) === outer.value;
}

export function cidrOverlaps(a: Cidr, b: Cidr): boolean {
  return a.prefix <= b.prefix ? cidrContains(a, b) : cidrContains(b, a);
}

function networkPart({ bits, value }: IpAddress, prefix: number): bigint {
  const hostBits = BigInt(bits - prefix);
  return (value >> hostBits) << hostBits;
}

function parseV4(text: string): IpAddress | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  let value = 0n;
  for (const part of parts) {
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined;
    value = (value << 8n) | BigInt(part);
  }
  return { bits: 32, value };
}

function parseV6(text: string): IpAddress | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const groups = halves.map((half) => (half === "" ? [] : half.split(":")));
  const given = groups.reduce((sum, half) => sum + half.length, 0);
  if (halves.length === 1 ? given !== 8 : given > 7) return undefined;
  const all = [...groups[0]!, ...Array<string>(8 - given).fill("0"), ...(groups[1] ?? [])];
  let value = 0n;
  for (const group of all) {
    if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined;
    value = (value << 16n) | BigInt(`0x${group}`);
  }
  return { bits: 128, value };
}
