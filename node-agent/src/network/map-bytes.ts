/** Pure: no clock, no I/O, no randomness. */

/** Numbers as eBPF maps have them, little endian, as hexadecimal digits. */
export const u32 = (value: number): string => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes.toString("hex");
};

export const u64 = (value: bigint): string => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes.toString("hex");
};
