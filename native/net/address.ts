/** Pure: no clock, no I/O, no randomness. */

/** `"10.0.0.1"` → 4 bytes. Throws a RangeError that names the text when it is no IPv4 address. */
export function ipv4Bytes(address: string): Uint8Array {
  const bytes = new Uint8Array(4);
  let part = 0;
  let value = 0;
  let digits = 0;
  for (let i = 0; i <= address.length; i++) {
    const digit = address.charCodeAt(i) - 48;
    if (digit >= 0 && digit <= 9 && digits < 3) {
      value = value * 10 + digit;
      digits++;
      continue;
    }
    const ends = i === address.length ? part === 3 : address[i] === "." && part < 3;
    if (!ends || digits === 0 || value > 255) throw new RangeError(`"${address}" is not an IPv4 address`);
    bytes[part++] = value;
    value = 0;
    digits = 0;
  }
  return bytes;
}

export function ipv4Text(bytes: Uint8Array): string {
  return bytes.join(".");
}

/** `"fd00::1"` → 16 bytes. Throws a RangeError that names the text when it is no IPv6 address. */
export function ipv6Bytes(address: string): Uint8Array {
  const halves = address.split("::").map((half) => (half === "" ? [] : half.split(":")));
  const given = halves.flat();
  const [head = [], tail = []] = halves;
  const missing = 8 - given.length;
  const valid =
    given.every((group) => /^[0-9a-f]{1,4}$/i.test(group)) &&
    (halves.length === 1 ? missing === 0 : halves.length === 2 && missing > 0);
  if (!valid) throw new RangeError(`"${address}" is not an IPv6 address`);
  const groups = halves.length === 1 ? given : [...head, ...Array<string>(missing).fill("0"), ...tail];
  return Uint8Array.from(
    groups.flatMap((group) => {
      const value = Number.parseInt(group, 16);
      return [value >> 8, value & 0xff];
    }),
  );
}

/** 4 bytes of an IPv4 address, 16 of an IPv6 one. Throws a RangeError that names the text when it is neither. */
export const ipBytes = (address: string): Uint8Array =>
  address.includes(":") ? ipv6Bytes(address) : ipv4Bytes(address);

/** `"02:42:0a:00:00:01"` → 6 bytes. Throws a RangeError that names the text otherwise. */
export function macBytes(address: string): Uint8Array {
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(address)) throw new RangeError(`"${address}" is not a MAC address`);
  return Uint8Array.from(address.split(":"), (part) => Number.parseInt(part, 16));
}

export function macText(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}

/** `"10.0.0.1/24"` or `"fd00::1/64"` → address and prefix length; without a slash the prefix is the address alone. */
export function parsePrefix(prefix: string): {
  readonly address: string;
  readonly bytes: Uint8Array;
  readonly length: number;
} {
  const [address = "", length] = prefix.split("/");
  const bytes = ipBytes(address);
  const most = bytes.length * 8;
  if (length !== undefined && (!/^\d{1,3}$/.test(length) || Number(length) > most))
    throw new RangeError(`"${prefix}" is not an IP prefix`);
  return { address, bytes, length: length === undefined ? most : Number(length) };
}

/** 4 bytes as IPv4, 16 as IPv6 in its canonical form (RFC 5952); IPv4 within IPv6 as IPv4. */
export function ipText(bytes: Uint8Array): string {
  if (bytes.length === 4) return ipv4Text(bytes);
  const mapped = bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
  if (mapped) return ipv4Text(bytes.subarray(12));
  const groups = Array.from({ length: 8 }, (_, i) => (bytes[2 * i]! << 8) | bytes[2 * i + 1]!);
  let best = { start: 0, length: 1 };
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === 0) length++;
    if (length > best.length) best = { start, length };
  }
  const hex = groups.map((group) => group.toString(16));
  if (best.length === 1) return hex.join(":");
  return `${hex.slice(0, best.start).join(":")}::${hex.slice(best.start + best.length).join(":")}`;
}
